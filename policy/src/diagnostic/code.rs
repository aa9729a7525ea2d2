//! The closed list of what can be wrong.

use std::fmt;

use super::Severity;

/// One row for each code: its stable name, how bad it is, why it matters and what to do.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $severity:ident, $why:literal, $advice:literal;)+) => {
        /// What kind of fault it is. Names are stable: scripts may rely on them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[doc = $doc])+ $variant,)+ }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable name.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// How bad it is by itself.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)+ }
            }

            /// Why it matters.
            #[must_use]
            pub fn why(self) -> &'static str {
                match self { $(Self::$variant => $why,)+ }
            }

            /// What to do.
            #[must_use]
            pub fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice,)+ }
            }
        }
    };
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

codes! {
    // Documents.
    /// The text is over its limit.
    TextTooLarge = "text-too-large", Alarm,
        "what cannot be held cannot be judged",
        "split it into several texts";
    /// The text has too many documents.
    TooManyDocuments = "too-many-documents", Alarm,
        "what cannot be held cannot be judged",
        "split it into several texts";
    /// A document has too many nodes.
    TooManyNodes = "too-many-nodes", Error, "a small text must not cost much memory", "split the object";
    /// A document is nested too deep.
    TooDeep = "too-deep", Error, "no object of ours is that deep", "take out what is nested needlessly";
    /// Neither YAML nor JSON.
    Syntax = "syntax", Error, "nobody can tell which object this was to be", "mend it as YAML 1.2 or JSON";
    /// An anchor or an alias.
    Anchor = "anchor", Error,
        "readers differ in how far they follow them",
        "write the value out where it is used";
    /// The merge key `<<`.
    MergeKey = "merge-key", Error, "readers differ in which value wins", "write the fields out";
    /// A tag such as `!!str`.
    Tag = "tag", Error, "readers differ in what they make of them", "leave it out; put a text in quotes";
    /// One key twice in a map.
    DuplicateKey = "duplicate-key", Error, "readers differ in which one counts", "keep one of them";
    /// A key that is no text.
    KeyNotText = "key-not-text", Error,
        "objects of Kubernetes have names as keys",
        "write a name before the colon";

    // Fields.
    /// A document that is no map.
    NotAnObject = "not-an-object", Error,
        "an object of Kubernetes is a map with apiVersion and kind",
        "remove it, or write it as an object";
    /// `apiVersion` or `kind` is missing.
    TypeMissing = "type-missing", Error, "nobody can tell what it is to be", "give apiVersion and kind";
    /// A kind of another group than those of mesh policies.
    NotAPolicy = "not-a-policy", Note, "it is left to whom it belongs", "nothing is to be done";
    /// A kind of our groups that does not exist.
    UnknownKind = "unknown-kind", Error,
        "it would be taken for a policy and enforce nothing",
        "write one of the known kinds";
    /// A version that does not exist.
    UnknownVersion = "unknown-version", Error, "its fields cannot be known", "write a known version";
    /// A name that Kubernetes would not take.
    BadName = "bad-name", Error,
        "objects are told apart by their names",
        "write a DNS subdomain of at most 253 bytes";
    /// A namespace that Kubernetes would not take.
    BadNamespace = "bad-namespace", Error,
        "a policy holds for its namespace",
        "write a DNS label of at most 63 bytes";
    /// A namespace where none belongs.
    NamespaceIgnored = "namespace-ignored", Warning,
        "the kind belongs to the cluster",
        "leave metadata.namespace out";
    /// The same object twice.
    ObjectTwice = "object-twice", Error, "nobody can tell which one is meant", "keep one of them";
    /// A refused object whose last good version counts.
    LastGoodStands = "last-good-stands", Warning,
        "its last good version stays in force",
        "mend it, or remove it";
    /// A refused object that never had a good version.
    StrictestStands = "strictest-stands", Error,
        "it counts as the strictest of its kind on what it selects",
        "mend it, or remove it";
    /// A refused object that would hold for the mesh.
    RootRefused = "root-refused", Alarm,
        "it would hold for the whole mesh, and does not count at all",
        "mend it, or remove it; set strict_root to have the strictest of its kind";
    /// An object that is missing while a document cannot be read.
    KeptWhileUnread = "kept-while-unread", Alarm,
        "it stays in force until every document can be read",
        "mend the document that cannot be read";
    /// A time that is none.
    BadTime = "bad-time", Error,
        "age decides between objects that conflict",
        "write it as RFC 3339 has it, such as 2019-03-19T10:00:00Z";
    /// A field that does not exist here.
    UnknownField = "unknown-field", Error,
        "what is not read is not enforced",
        "mend the name, or leave it out";
    /// One field in both spellings.
    FieldTwice = "field-twice", Error, "nobody can tell which one is meant", "keep one spelling";
    /// A value of another kind than the field has.
    WrongType = "wrong-type", Error,
        "Kubernetes and Istio would read it otherwise, or not at all",
        "write what is wanted; put a text in quotes";
    /// A word that the field does not know.
    UnknownValue = "unknown-value", Error, "what it asks for cannot be known", "write one of the known words";
    /// A list over its limit.
    TooManyItems = "too-many-items", Error,
        "the cost of a decision is bounded",
        "split it over several objects";
    /// A null in a list.
    NullItem = "null-item", Error,
        "an item without content could mean all or nothing",
        "write the item out, or remove it";
    /// A list that is there and empty.
    EmptyList = "empty-list", Error, "empty could mean all or nothing", "remove the field, or fill it";
    /// A text that is there and empty.
    EmptyText = "empty-text", Error, "empty could mean all or nothing", "remove it, or fill it";
    /// A known field that is not enforced here.
    NotEnforced = "not-enforced", Warning, "it is known, and nothing here acts on it", "do not rely on it";
    /// A known field without which the object would mean something else, and which is not enforced.
    Unsupported = "unsupported", Error,
        "leaving it out of account would change who has access",
        "say it by another field";

    // Values.
    /// No IP address or CIDR range.
    BadAddress = "bad-address", Error,
        "an address that is not understood matches nothing",
        "write an address or a range, such as 10.0.0.0/8 or 2001:db8::1";
    /// No port.
    BadPort = "bad-port", Error,
        "a port that is not understood matches nothing",
        "write a number of 1 to 65535, or 0 to 65535 in a condition";
    /// Neither an absolute http nor https URI.
    BadUri = "bad-uri", Error,
        "keys could never be fetched from it",
        "write an absolute URI with the scheme http or https and a host";
    /// No name of a header.
    BadHeaderName = "bad-header-name", Error,
        "no request can have it",
        "write a token as RFC 9110 has it, such as x-token";
    /// No duration of a second or the like.
    BadDuration = "bad-duration", Error,
        "how long to wait cannot be known",
        "write seconds such as 5s or 0.5s";
    /// A regular expression that cannot be compiled.
    BadRegex = "bad-regex", Error,
        "it would never match, or match with unbounded cost",
        "mend it, without back references and look-around";
    /// A `*` in the middle.
    LiteralStar = "literal-star", Warning,
        "a star counts only as the whole, at the front or at the end: this one is compared as a character",
        "use a path template such as /a/{*}/b, or write the values out";
    /// A path template that is malformed.
    BadPathTemplate = "bad-path-template", Error,
        "a template that is not understood matches nothing",
        "use {*} and {**} as whole segments, {**} last, and no other *, { or }";

    // Selection.
    /// A selector that is malformed.
    BadSelector = "bad-selector", Error,
        "whom it selects cannot be known",
        "write labels as Kubernetes has them, without *";
    /// A selector without labels.
    SelectorEmpty = "selector-empty", Warning,
        "it selects every workload of its namespace",
        "leave the selector out, or name labels";
    /// More than one of `selector`, `targetRef` and `targetRefs`.
    ScopeConflict = "scope-conflict", Error, "whom it selects cannot be known", "keep one of them";
    /// A target that is malformed.
    BadTargetRef = "bad-target-ref", Error,
        "whom it selects cannot be known",
        "name kind and name of a Service, ServiceEntry, Gateway or GatewayClass, without a namespace";

    // AuthorizationPolicy.
    /// DENY or CUSTOM without rules.
    RulesMissing = "rules-missing", Error,
        "it would never be triggered",
        "write rules; rules: [{}] matches everything";
    /// CUSTOM without a provider.
    ProviderMissing = "provider-missing", Error, "nobody could be asked", "name spec.provider.name";
    /// A provider without CUSTOM.
    ProviderUnused = "provider-unused", Error,
        "nobody would ask it",
        "set the action CUSTOM, or leave the provider out";
    /// A field that CUSTOM cannot have.
    CustomUnsupported = "custom-unsupported", Error,
        "it is decided before peers and tokens are known",
        "use hosts, ports, methods, paths, addresses or headers";
    /// A rule with a `from` or `to` whose item has no source or operation.
    ItemMissing = "item-missing", Error,
        "an item without content could mean all or nothing",
        "write source under from, and operation under to";
    /// A source or an operation without any field.
    ItemEmpty = "item-empty", Error,
        "empty could mean all or nothing",
        "write a field, or leave from or to out to match all";
    /// A condition without a key.
    KeyMissing = "key-missing", Error, "what it is to compare cannot be known", "write the key";
    /// A condition on an attribute that does not exist.
    UnknownKey = "unknown-key", Error,
        "what it is to compare cannot be known: in a DENY rule it would fail open",
        "write a known attribute";
    /// A condition on an attribute of the workload.
    KeyOfWorkload = "key-of-workload", Error,
        "attributes of the workload select the policy",
        "use the selector, or the namespace of the policy";
    /// The key of a map attribute that is malformed.
    BadKey = "bad-key", Error,
        "what it is to compare cannot be known",
        "write it as request.headers[name] or request.auth.claims[a][b]";
    /// A condition without values.
    ValuesMissing = "values-missing", Error,
        "without values it could mean all or nothing",
        "write values or notValues";
    /// `serviceAccounts` beside `principals` or `namespaces`.
    ServiceAccountsMixed = "service-accounts-mixed", Error,
        "both name the same identity, and could exclude one another",
        "keep one of them";
    /// A service account that is malformed.
    BadServiceAccount = "bad-service-account", Error,
        "an account that is not understood matches nobody",
        "write ACCOUNT or NAMESPACE/ACCOUNT, without *, of at most 320 characters";
    /// A trust domain that is malformed.
    BadTrustDomain = "bad-trust-domain", Error,
        "a trust domain that is not understood matches nobody",
        "write a name, with one * at its front or its end at most, and no /";
    /// A principal with `spiffe://`.
    SpiffePrefix = "spiffe-prefix", Warning,
        "spiffe:// is implied: written out, it matches nobody",
        "leave spiffe:// out";
    /// A DENY rule that asks for HTTP alone.
    HttpOnly = "http-only-deny", Warning,
        "it denies all traffic to TCP ports that it holds for",
        "name the ports under to";
    /// An attribute of Envoy's filters.
    EnvoyMetadata = "envoy-metadata", Warning,
        "it is told by filters of Envoy and is never there elsewhere",
        "do not rely on it outside Envoy";
    /// A dry-run annotation that is no boolean.
    BadDryRun = "bad-dry-run", Error, "whether it counts cannot be known", "write \"true\" or \"false\"";
    /// Dry run where there is none.
    DryRunUnsupported = "dry-run-unsupported", Warning,
        "only ALLOW and DENY have a dry run: the object counts",
        "leave the annotation out";

    // PeerAuthentication.
    /// `portLevelMtls` without a selector.
    PortLevelWithoutSelector = "port-level-without-selector", Error,
        "a mesh or a namespace has no ports",
        "select workloads";
    /// `portLevelMtls` that is there and empty.
    PortLevelEmpty = "port-level-empty", Error, "empty could mean all or nothing", "remove it, or name ports";
    /// A selector in the root namespace.
    RootSelector = "root-selector", Warning,
        "Istio ignores it there: it selects nobody",
        "move it to the namespace of the workload";

    // Tokens.
    /// Neither an issuer nor a place of keys.
    IssuerMissing = "issuer-missing", Error, "any token could be meant", "name the issuer";
    /// Keys given twice.
    JwksTwice = "jwks-twice", Error, "nobody can tell which keys count", "keep jwks or jwksUri";
    /// No JWKS.
    BadJwks = "bad-jwks", Error, "no token could be verified", "write a JWK set as RFC 7517 has it, in JSON";
    /// A private key in a JWKS.
    PrivateJwks = "private-jwks", Warning,
        "who reads the object can sign tokens",
        "replace the key, and publish the public part alone";
    /// A claim to hand on without its name or its header.
    OutputMissing = "output-missing", Error,
        "where to put the claim, or which one, cannot be known",
        "write header and claim";

    // Istio 1.1: Policy, MeshPolicy.
    /// A policy of a namespace that is not named `default`.
    PolicyNotDefault = "policy-not-default", Error,
        "without targets it holds for its namespace, of which there is one",
        "name it default, or give targets";
    /// A policy with targets that is named `default`.
    PolicyDefaultTargets = "policy-default-targets", Error,
        "default is the name of the policy of the namespace",
        "name it otherwise, or remove the targets";
    /// A mesh policy that is not named `default`.
    MeshPolicyName = "mesh-policy-name", Error, "there is one for the mesh", "name it default";
    /// A mesh policy with targets.
    MeshPolicyTargets = "mesh-policy-targets", Error,
        "it holds for the mesh",
        "write a Policy in the namespace of the service";
    /// A target that is no short name of a service.
    BadTarget = "bad-target", Error,
        "the service is looked for in the namespace of the policy",
        "write its short name, one DNS label";
    /// An authentication method without content.
    MethodMissing = "method-missing", Error,
        "an item without content could mean all or nothing",
        "write mtls or jwt";
    /// Two authentication methods in one item.
    MethodTwice = "method-twice", Error, "an item is one method", "write two items";
    /// One issuer twice.
    IssuerTwice = "issuer-twice", Error, "nobody can tell which rule counts for a token", "merge the two";
    /// The principal of a token without a token.
    BindingWithoutOrigin = "binding-without-origin", Warning,
        "every request is refused with 401",
        "write origins, or leave principalBinding out";
    /// A match without content, or with several.
    BadStringMatch = "bad-string-match", Error,
        "it is one of exact, prefix, suffix and regex",
        "write one of them";

    // Istio 1.1: ClusterRbacConfig, RbacConfig, ServiceRole, ServiceRoleBinding.
    /// A configuration that is not named `default`.
    RbacConfigName = "rbac-config-name", Error, "Istio reads no other one", "name it default";
    /// A mode without its list.
    RbacTargetMissing = "rbac-target-missing", Error,
        "whom the mode holds for cannot be known",
        "write inclusion or exclusion; {} is nobody";
    /// A wildcard in a list of exact names.
    ExactNamesOnly = "exact-names-only", Warning,
        "names are compared as a whole here: a * matches nothing",
        "write the names out";
    /// A role without rules.
    RoleRulesMissing = "role-rules-missing", Error, "it would grant nothing", "write rules";
    /// A rule without services.
    ServicesMissing = "services-missing", Error,
        "what it grants access to cannot be known",
        "name services, or \"*\" for those of the namespace";
    /// A constraint or property on an attribute that does not exist.
    UnknownConstraint = "unknown-constraint", Error,
        "Istio 1.1 leaves it out, which widens the permission",
        "write a known key, or remove it";
    /// A binding without subjects.
    SubjectsMissing = "subjects-missing", Error, "it would bind nobody", "write subjects";
    /// A subject without content.
    SubjectEmpty = "subject-empty", Error,
        "empty could mean everybody or nobody",
        "write user, group or properties";
    /// One fact about a subject in two ways.
    SubjectTwice = "subject-twice", Error,
        "Istio 1.1 leaves one of them out, which widens the subject",
        "keep one of them";
    /// A binding without a role.
    RoleRefMissing = "role-ref-missing", Error,
        "what it grants cannot be known",
        "write roleRef with kind ServiceRole and the name of a role of the namespace";

    // DestinationRule.
    /// A rule without a host.
    BadHost = "bad-host", Error,
        "whom it holds for cannot be known",
        "write a service name, a DNS name or *.DOMAIN";
    /// TLS settings that lack a part.
    TlsIncomplete = "tls-incomplete", Error,
        "no connection could be made",
        "write clientCertificate and privateKey, or credentialName";
    /// TLS settings that exclude one another.
    TlsConflict = "tls-conflict", Error, "nobody can tell which one counts", "keep one of them";
    /// A traffic policy, or one of a port, without any field.
    TrafficPolicyEmpty = "traffic-policy-empty", Error,
        "for a port, empty means no TLS",
        "remove it, or fill it";
    /// A port entry without its port.
    PortMissing = "port-missing", Error, "for which port it holds cannot be known", "write port.number";
    /// TLS that verifies nobody.
    Unverified = "unverified-server", Warning,
        "the server is not verified against a CA of the rule's",
        "name caCertificates or credentialName";
    /// A subset that is malformed.
    BadSubset = "bad-subset", Error,
        "to which subset it belongs cannot be known",
        "give each subset a name of its own";
    /// An export that is malformed.
    BadExportTo = "bad-export-to", Error,
        "who may see the rule cannot be known",
        "write ., * or the name of a namespace";
}
