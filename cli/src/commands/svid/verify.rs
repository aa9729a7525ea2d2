//! `svid verify`: whether an SVID holds, and if not, why not, with every date that plays a part.

use identity::SpiffeId;
use pki::{
    Certificate, CertificateDer, Timestamp, TrustBundle, Usage, ValidatedJwtSvid, ValidatedSvid, validate_jwt_svid, validate_svid,
};
use serde_json::{Value, json};

use super::file::SvidFile;
use super::{certificate_json, distance, now};
use crate::args::VerifyArgs;
use crate::commands::bundle::{bundle_json, read_bundle};
use crate::failure::Failure;
use crate::output::{Answer, facts_text};
use crate::output_format::OutputFormat;
use crate::workload_client::{WorkloadClient, bundle_of};

pub(super) async fn run(args: &VerifyArgs, format: OutputFormat) -> Result<(), Failure> {
    let svid = SvidFile::read(&args.file)?;
    let bundle = match (&args.bundle, &args.trust_domain) {
        (Some(file), Some(trust_domain)) => Ok(read_bundle(file, trust_domain)?),
        // clap lets neither come alone.
        _ => match svid.claimed_trust_domain() {
            Ok(named) => Ok(bundle_of(WorkloadClient::connect(&args.workload).await?.fetch_bundles().await?, Some(&named))?),
            Err(why) => Err(why),
        },
    };
    let clocks = Clocks { machine: now(), at: args.at };
    let (verdict, bundle) = match bundle {
        Ok(bundle) => (verify(&svid, args, &bundle, clocks.now())?, Some(bundle)),
        Err(why) => (Err(why), None),
    };
    let chain = match &svid {
        SvidFile::X509(chain) => chain.as_slice(),
        SvidFile::Jwt(_) => &[],
    };
    let bundle = bundle.as_ref();
    let answer = Answer::text(text(&verdict, chain, bundle, &clocks), document(&verdict, chain, bundle, &clocks));
    answer.print(format)?;
    match verdict {
        Ok(_) => Ok(()),
        Err(why) => Err(Failure::failed("the SVID does not verify").because(why)),
    }
}

/// The SPIFFE ID that it proves by this bundle, or why it proves none.
///
/// # Errors
/// [`Failure`] when the arguments do not go with the SVID.
fn verify(svid: &SvidFile, args: &VerifyArgs, bundle: &TrustBundle, now: Timestamp) -> Result<Result<SpiffeId, String>, Failure> {
    let verdict = match svid {
        SvidFile::X509(chain) => {
            if args.audience.is_some() {
                return Err(Failure::usage("`--audience` goes with JWT-SVIDs, this is an X509-SVID").advise("leave it out"));
            }
            x509(chain, bundle, now).map(|valid| valid.id().clone())
        }
        SvidFile::Jwt(token) => {
            let audience = args.audience.as_ref().ok_or_else(|| {
                Failure::usage("a JWT-SVID is verified for an audience").advise("name your own with `--audience TEXT`")
            })?;
            let verdict = validate_jwt_svid(token, audience, bundle, now);
            verdict.map(|valid: ValidatedJwtSvid| valid.id().clone()).map_err(|error| error.to_string())
        }
    };
    Ok(verdict.and_then(|id| match &args.id {
        Some(wanted) if *wanted != id => Err(format!("it is {id}, and {wanted} was demanded")),
        Some(_) | None => Ok(id),
    }))
}

/// Which time decides, and what this machine's clock says: a wrong clock is the usual suspect.
struct Clocks {
    machine: Timestamp,
    at: Option<Timestamp>,
}

impl Clocks {
    fn now(&self) -> Timestamp {
        self.at.unwrap_or(self.machine)
    }
}

/// As a server and as a client, since an SVID serves as both.
fn x509(chain: &[Certificate], bundle: &TrustBundle, now: Timestamp) -> Result<ValidatedSvid, String> {
    let der: Vec<_> = chain.iter().map(|certificate| CertificateDer::from(certificate.der().as_ref())).collect();
    validate_svid(&der, bundle, Usage::Both, now).map_err(|error| error.to_string())
}

fn text(verdict: &Result<SpiffeId, String>, chain: &[Certificate], bundle: Option<&TrustBundle>, clocks: &Clocks) -> String {
    let now = clocks.now();
    let dates = |certificates: &[Certificate]| {
        let one = |certificate: &Certificate| {
            let name = certificate.uri_sans().first().cloned().unwrap_or_else(|| certificate.subject());
            format!(
                "{name}\n  from  {}\n  until {}",
                distance(certificate.not_before(), now),
                distance(certificate.not_after(), now)
            )
        };
        certificates.iter().map(one).collect::<Vec<_>>().join("\n")
    };
    let mut facts = vec![
        ("verdict", verdict.as_ref().map_or_else(|why| format!("refused: {why}"), |id| format!("valid: {id}"))),
        ("verified as of", now.to_string()),
        ("this machine's clock", clocks.machine.to_string()),
    ];
    if !chain.is_empty() {
        facts.push(("the chain shown", dates(chain)));
    }
    if let Some(bundle) = bundle {
        let keys: Vec<_> = bundle.jwt_authorities().iter().map(|authority| authority.key_id().as_str()).collect();
        facts.push(("the bundle", format!("of {}, sequence {}", bundle.trust_domain(), bundle.sequence())));
        facts.push(("its authorities", dates(bundle.authorities())));
        if !keys.is_empty() {
            facts.push(("its JWT keys", keys.join("\n")));
        }
    }
    facts_text(facts)
}

fn document(verdict: &Result<SpiffeId, String>, chain: &[Certificate], bundle: Option<&TrustBundle>, clocks: &Clocks) -> Value {
    json!({
        "valid": verdict.is_ok(),
        "id": verdict.as_ref().ok().map(ToString::to_string),
        "why": verdict.as_ref().err(),
        "verified_as_of": clocks.now().to_string(),
        "machine_clock": clocks.machine.to_string(),
        "chain": chain.iter().map(certificate_json).collect::<Vec<_>>(),
        "bundle": bundle.map(bundle_json),
    })
}
