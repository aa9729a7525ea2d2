//! `status`: one screen about the CA.

use std::path::Path;

use proto::v1::{AuditCheckpoint, Authorities, CertificateStatus, ShowAuthoritiesRequest, StatusRequest, StatusResponse};
use serde_json::{Value, json};
use tonic::Code;

use super::{authority, drill, replica, revocation};
use crate::admin_client::{authority_admin, ca_admin, request};
use crate::failure::Failure;
use crate::output::{Answer, Tone, or_dash, printable, time_json, time_text, toned};
use crate::output_format::OutputFormat;

pub(super) async fn run(socket: &Path, format: OutputFormat) -> Result<(), Failure> {
    let answer = ca_admin(socket).await?.status(request(StatusRequest {})).await;
    let failed = |status| Failure::from_status("status", &status);
    let status = answer.map_err(failed)?.into_inner();
    let shown = authority_admin(socket).await?.show_authorities(request(ShowAuthoritiesRequest { revoked: false })).await;
    let authorities = match shown {
        Ok(told) => Some(told.into_inner()),
        // A CA from before authorities had slots.
        Err(status) if status.code() == Code::Unimplemented => None,
        Err(status) => return Err(failed(status)),
    };
    screen(&status, authorities.as_ref()).print(format)
}

fn screen(status: &StatusResponse, authorities: Option<&Authorities>) -> Answer {
    let facts = [
        ("trust domain", status.trust_domain.clone()),
        ("replica", format!("{} (signet {})", status.replica, status.build)),
        ("address", or_dash(&status.address)),
        ("root fingerprint", status.root_fingerprint.clone()),
        ("JWT key", or_dash(&status.jwt_key_id)),
        ("audit key", or_dash(&status.audit_key)),
        ("audit checkpoint", status.audit_checkpoint.as_ref().map_or_else(|| "-".to_owned(), checkpoint_text)),
        ("bundle sequence", status.bundle_sequence.to_string()),
        ("nodes", format!("{} attested, {} connected", status.nodes_attested, status.nodes_connected)),
        ("entries", status.entries.to_string()),
        ("certificates issued", status.certificates_issued.to_string()),
        ("revocation", status.revocation.as_ref().map_or_else(|| "-".to_owned(), revocation::line)),
    ];
    let rows = status.certificates.iter().map(row).collect();
    let columns = ["certificate", "subject", "not before", "not after", "serial"];
    let certificates = Answer::table(&columns, rows, "no certificates", Value::Null);
    let mut warnings: Vec<_> = status.warnings.iter().map(|warning| format!(" ! {}", printable(warning))).collect();
    warnings.extend(authorities.map(|told| replica::faults_text(&told.replicas)).filter(|text| !text.is_empty()));
    // The colour stands outside the table: it would count as width within.
    let state = if status.ready { toned("ready", Tone::Good) } else { toned("not ready", Tone::Bad) };
    let answer = Answer::text(format!(" {state}"), status_json(status, authorities))
        .with_text(&warnings.join("\n"))
        .with_text(Answer::facts(facts, Value::Null).as_text())
        .with_text(certificates.as_text());
    let Some(authorities) = authorities else { return answer };
    let under_way: Vec<_> = authorities.rotations.iter().map(authority::under_way_text).collect();
    answer
        .with_text(authority::table(&authorities.authorities, Value::Null).as_text())
        .with_text(&authority::plugged_in_text(authorities))
        .with_text(&under_way.join("\n"))
}

fn checkpoint_text(checkpoint: &AuditCheckpoint) -> String {
    format!("up to event {}, {}", checkpoint.sequence, time_text(checkpoint.time.as_ref()))
}

fn row(certificate: &CertificateStatus) -> Vec<String> {
    vec![
        certificate.role.clone(),
        or_dash(&certificate.subject),
        time_text(certificate.not_before.as_ref()),
        time_text(certificate.not_after.as_ref()),
        certificate.serial.clone(),
    ]
}

fn status_json(status: &StatusResponse, authorities: Option<&Authorities>) -> Value {
    let certificates: Vec<_> = status
        .certificates
        .iter()
        .map(|certificate| {
            json!({
                "role": certificate.role,
                "subject": certificate.subject,
                "serial": certificate.serial,
                "not_before": time_json(certificate.not_before.as_ref()),
                "not_after": time_json(certificate.not_after.as_ref()),
            })
        })
        .collect();
    json!({
        "trust_domain": status.trust_domain,
        "replica": status.replica,
        "build": status.build,
        "ready": status.ready,
        "warnings": status.warnings,
        "certificates": certificates,
        "bundle_sequence": status.bundle_sequence,
        "root_fingerprint": status.root_fingerprint,
        "jwt_key_id": status.jwt_key_id,
        "audit_key": status.audit_key,
        "audit_checkpoint": status.audit_checkpoint.as_ref().map(|checkpoint| json!({
            "sequence": checkpoint.sequence,
            "time": time_json(checkpoint.time.as_ref()),
        })),
        "nodes_attested": status.nodes_attested,
        "nodes_connected": status.nodes_connected,
        "entries": status.entries,
        "certificates_issued": status.certificates_issued,
        "address": status.address,
        "revocation": status.revocation.as_ref().map(revocation::status_json),
        "authorities": authorities.map(|told| authority::list_json(&told.authorities)),
        "replicas": authorities.map(|told| replica::list_json(&told.replicas)),
        "rotations": authorities.map(|told| told.rotations.iter().map(drill::report_json).collect::<Vec<_>>()),
    })
}

#[cfg(test)]
mod tests {
    use proto::v1::{Authority, Replica, RotationReport};

    use super::*;

    #[test]
    fn a_warning_stands_on_the_first_lines_and_in_the_document() {
        let status = StatusResponse {
            trust_domain: "example.org".into(),
            warnings: vec!["issuer ends soon".into()],
            ..StatusResponse::default()
        };
        let answer = screen(&status, None);
        assert!(answer.as_text().starts_with(" not ready\n\n ! issuer ends soon\n\n"), "{}", answer.as_text());
        assert_eq!(answer.as_json()["warnings"][0], "issuer ends soon");
        assert_eq!(answer.as_json()["ready"], false);
        assert_eq!(answer.as_json()["authorities"], Value::Null, "unknown is not empty");
    }

    #[test]
    fn authorities_stand_below_with_what_comes_next_and_what_is_under_way() {
        let told = Authorities {
            authorities: vec![Authority {
                name: "issuer-1".into(),
                slot: "active".into(),
                next_action: "is replaced by itself".into(),
                ..Authority::default()
            }],
            rotations: vec![RotationReport { phase: "replace".into(), ..RotationReport::default() }],
            replicas: vec![Replica { name: "ca-b".into(), ..Replica::default() }],
            ..Authorities::default()
        };
        let answer = screen(&StatusResponse::default(), Some(&told));
        for part in ["issuer-1", "active", "is replaced by itself", "under way: replace", " ! replica ca-b is away"] {
            assert!(answer.as_text().contains(part), "{part}: {}", answer.as_text());
        }
        assert_eq!(answer.as_json()["authorities"][0]["next_action"], "is replaced by itself");
        assert_eq!(answer.as_json()["rotations"][0]["phase"], "replace");
        assert_eq!(answer.as_json()["replicas"][0]["lives"], false);
    }
}
