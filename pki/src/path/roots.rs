//! Chains that are no SVIDs: servers that are known by name, and certificates that somebody else issued.
//!
//! They stand under roots that are trusted for one purpose and never as a trust domain's authorities.

use identity::Host;
use rustls_pki_types::{DnsName as WireName, ServerName};
use webpki::EndEntityCert;

use super::leaf::check_no_authority;
use super::{Scope, find_path, parse_chain};
use crate::bundle::{TrustAnchors, bundle_from_pem};
use crate::{AnchorLapse, BundleError, Certificate, CertificateDer, SvidError, Timestamp, TrustBundle, Usage};

/// Roots that an operator configured for one purpose; each is fit as an authority (see [`crate::AnchorError`]). `Clone` is
/// cheap. Those outside their dates are kept, and vouch for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedRoots(TrustAnchors);

impl TrustedRoots {
    /// 1 to [`crate::MAX_AUTHORITIES`] roots without duplicates.
    ///
    /// # Errors
    /// [`BundleError`]; one bad root refuses the whole.
    pub fn new(roots: Vec<Certificate>) -> Result<Self, BundleError> {
        if roots.is_empty() {
            return Err(BundleError::Count { found: 0 });
        }
        TrustAnchors::admit(roots, None).map(Self)
    }

    /// Roots from the certificates of a PEM text.
    ///
    /// # Errors
    /// [`BundleError`]; see [`crate::certificates_from_pem`] and [`Self::new`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, BundleError> {
        Self::new(bundle_from_pem(pem)?)
    }

    /// The authorities of a bundle, as roots.
    #[must_use]
    pub fn of_bundle(bundle: &TrustBundle) -> Self {
        Self(bundle.anchors().clone())
    }

    /// All of them, in the order given, whatever their dates.
    #[must_use]
    pub fn certificates(&self) -> &[Certificate] {
        self.0.certificates()
    }

    /// Those outside their dates at `now`, which vouch for nothing: to be warned of where roots are loaded.
    #[must_use]
    pub fn lapsed_at(&self, now: Timestamp) -> Vec<AnchorLapse> {
        self.0.lapsed_at(now)
    }

    /// Whether `authority` may be trusted at `now` because these roots are: it is one of them, or one of them that is valid
    /// signed it.
    ///
    /// Only directly, and not for a root with name constraints: those would be lost once the authority stands for itself.
    #[must_use]
    pub fn vouch_for(&self, authority: &Certificate, now: Timestamp) -> bool {
        if self.certificates().contains(authority) {
            return true;
        }
        self.certificates().iter().filter(|root| root.is_valid_at(now)).any(|root| {
            let self_issued = authority.subject_der() == root.subject_der();
            let unconstrained = !root.has_name_constraints();
            // A self-issued certificate does not count in a path (RFC 5280 section 4.2.1.9).
            let may_have_below = self_issued || root.basic_constraints().is_some_and(|limits| limits.path_length != Some(0));
            unconstrained
                && may_have_below
                && authority.issuer_der() == root.subject_der()
                && authority.verify_signed_by(root.public_key()).is_ok()
        })
    }
}

/// Validates `chain` (leaf first) to one of the roots that are valid at `now`, for a peer that uses its certificate as `usage`
/// says. Gives the leaf: whom it names is for the caller to judge.
///
/// # Errors
/// [`SvidError`], one variant per rule; [`SvidError::UnknownRoot`] when no root issued it.
pub fn validate_chain(
    chain: &[CertificateDer<'_>],
    roots: &TrustedRoots,
    usage: Usage,
    now: Timestamp,
) -> Result<Certificate, SvidError> {
    let chain = parse_chain(chain, &[])?;
    let (leaf, intermediates) = chain.split_first().ok_or(SvidError::EmptyChain)?;
    check_no_authority(leaf)?;
    // keyUsage may be absent in foreign certificates; one that is there must fit (RFC 5280 section 4.2.1.3).
    if let Some(usage) = leaf.key_usage() {
        if usage.key_cert_sign() {
            return Err(SvidError::LeafMaySignCertificates);
        }
        if !usage.digital_signature() {
            return Err(SvidError::DigitalSignatureMissing);
        }
    }
    find_path(leaf, intermediates, &Scope { anchors: &roots.0, trust_domain: None }, usage, now)?;
    Ok(leaf.clone())
}

/// Validates the chain of a TLS server that was connected to as `name` (RFC 9525 section 6: only SANs count).
///
/// # Errors
/// [`SvidError`]; [`SvidError::ServerName`] when it is valid and names another.
pub fn validate_server(chain: &[CertificateDer<'_>], roots: &TrustedRoots, name: &Host, now: Timestamp) -> Result<(), SvidError> {
    let leaf = validate_chain(chain, roots, Usage::Server, now)?;
    let path = |error: &dyn std::fmt::Display| SvidError::Path { reason: error.to_string() };
    let wanted = match name {
        Host::Ip(address) => ServerName::IpAddress((*address).into()),
        Host::Dns(name) => ServerName::DnsName(WireName::try_from(name.as_str()).map_err(|error| path(&error))?),
    };
    let entity = EndEntityCert::try_from(leaf.der()).map_err(|error| path(&error))?;
    entity.verify_is_valid_for_subject_name(&wanted).map_err(|_| SvidError::ServerName { expected: name.clone() })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{
        BasicConstraints, CidrSubnet, ExtendedKeyUsagePurpose as Eku, GeneralSubtree, IsCa, KeyUsagePurpose, NameConstraints,
        SanType,
    };

    use super::*;
    use crate::ChainPosition;
    use crate::test_pki::{Hierarchy, Plan, now};

    const ID: &str = "spiffe://elsewhere.org/node/n1";

    fn roots(certificates: &[&Certificate]) -> TrustedRoots {
        TrustedRoots::new(certificates.iter().map(|certificate| (*certificate).clone()).collect()).unwrap()
    }

    fn named(names: Vec<SanType>) -> Plan {
        Plan::leaf(ID).with(|params| params.subject_alt_names = names)
    }

    fn dns(name: &str) -> SanType {
        SanType::DnsName(name.try_into().unwrap())
    }

    #[test]
    fn a_chain_of_any_names_is_valid_under_its_root_and_under_no_other() {
        let (h, other) = (Hierarchy::new(), Hierarchy::new());
        let leaf = named(vec![dns("n1.example.org")]).under(&h.issuer);
        let chain = [leaf.der(), h.issuer.der()];
        let ours = roots(&[&h.root.certificate]);
        assert_eq!(validate_chain(&chain, &ours, Usage::Client, now()).unwrap().dns_sans(), ["n1.example.org"]);
        let theirs = roots(&[&other.root.certificate]);
        let refused = validate_chain(&chain, &theirs, Usage::Client, now()).unwrap_err();
        assert!(matches!(refused, SvidError::UnknownRoot { .. } | SvidError::Signature), "{refused:?}");
        let late = now().plus(Duration::from_secs(7200));
        let refused = validate_chain(&chain, &ours, Usage::Client, late).unwrap_err();
        assert!(matches!(refused, SvidError::Expired { position: ChainPosition::Leaf, .. }), "{refused:?}");
    }

    #[test]
    fn a_leaf_that_may_not_do_it_is_refused() {
        let h = Hierarchy::new();
        let ours = roots(&[&h.root.certificate]);
        let check = |plan: Plan| validate_chain(&[plan.der_under(&h.issuer), h.issuer.der()], &ours, Usage::Client, now());
        assert!(check(Plan::leaf(ID)).is_ok());
        assert!(check(Plan::leaf(ID).with(|params| params.key_usages.clear())).is_ok());
        let usages = |usages: Vec<KeyUsagePurpose>| check(Plan::leaf(ID).with(|params| params.key_usages = usages));
        assert_eq!(usages(vec![KeyUsagePurpose::KeyAgreement]), Err(SvidError::DigitalSignatureMissing));
        let both = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
        assert_eq!(usages(both), Err(SvidError::LeafMaySignCertificates));
        let ca = Plan::leaf(ID).with(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
        assert_eq!(check(ca), Err(SvidError::LeafIsCa));
        assert!(check(Plan::leaf(ID).with(|params| params.extended_key_usages = vec![Eku::ClientAuth])).is_ok());
        assert!(check(Plan::leaf(ID).with(|params| params.extended_key_usages = vec![Eku::ServerAuth])).is_err());
    }

    #[test]
    fn a_server_is_taken_by_the_name_it_was_connected_to() {
        let h = Hierarchy::new();
        let ours = roots(&[&h.root.certificate]);
        let leaf = named(vec![dns("ca.example.org"), SanType::IpAddress([10, 0, 0, 1].into())]).under(&h.issuer);
        let chain = [leaf.der(), h.issuer.der()];
        let check = |address: &str| {
            let address: identity::HostPort = address.parse().unwrap();
            validate_server(&chain, &ours, address.host(), now())
        };
        assert!(check("ca.example.org:1").is_ok());
        assert!(check("10.0.0.1:1").is_ok());
        for other in ["cb.example.org:1", "10.0.0.2:1", "example.org:1"] {
            assert!(matches!(check(other), Err(SvidError::ServerName { .. })), "{other}");
        }
    }

    #[test]
    fn roots_vouch_for_themselves_and_for_what_they_signed_directly() {
        let (h, other) = (Hierarchy::new(), Hierarchy::new());
        let ours = roots(&[&h.root.certificate]);
        assert!(ours.vouch_for(&h.root.certificate, now()));
        assert!(ours.vouch_for(&h.issuer.certificate, now()));
        assert!(!ours.vouch_for(&other.root.certificate, now()));
        let years = Duration::from_secs(3 * 365 * 24 * 3600);
        assert!(!ours.vouch_for(&h.issuer.certificate, now().plus(years)), "a root that has ended vouches for nothing");
        let closed =
            Plan::authority("closed").with(|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))).self_signed();
        let below = Plan::authority("below").under(&closed);
        assert!(!roots(&[&closed.certificate]).vouch_for(&below.certificate, now()));
        // Renewed under its own name it is no level of its own.
        let renewed = Plan::authority("closed").under(&closed);
        assert!(roots(&[&closed.certificate]).vouch_for(&renewed.certificate, now()));
        let network = GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([10, 0, 0, 0], 8));
        let constraints = NameConstraints { permitted_subtrees: vec![network], excluded_subtrees: vec![] };
        let narrow = Plan::authority("narrow").with(|params| params.name_constraints = Some(constraints)).self_signed();
        let below = Plan::authority("below").under(&narrow);
        assert!(!roots(&[&narrow.certificate]).vouch_for(&below.certificate, now()), "its constraints would be lost");
    }

    #[test]
    fn roots_outside_their_dates_are_told() {
        let (h, hour) = (Hierarchy::new(), Duration::from_secs(3600));
        let ended = Plan::authority("ended").dates(now().minus(hour * 2), now().minus(hour)).self_signed();
        let lapsed = roots(&[&h.root.certificate, &ended.certificate]).lapsed_at(now());
        assert!(matches!(lapsed.as_slice(), [AnchorLapse::Ended { .. }]), "{lapsed:?}");
        assert_eq!(roots(&[&h.root.certificate]).lapsed_at(now()), []);
    }

    #[test]
    fn roots_must_be_authorities_without_repetition() {
        let h = Hierarchy::new();
        let leaf = Plan::leaf(ID).under(&h.issuer);
        let root = &h.root.certificate;
        assert!(matches!(TrustedRoots::new(vec![leaf.certificate]), Err(BundleError::Anchor { .. })));
        assert!(matches!(TrustedRoots::new(vec![root.clone(), root.clone()]), Err(BundleError::Duplicate { .. })));
        assert!(matches!(TrustedRoots::new(Vec::new()), Err(BundleError::Count { found: 0 })));
    }
}
