//! The bootstrap that `signet envoy bootstrap` prints: a pure function from the arguments to JSON, which Envoy reads as
//! it reads YAML.
//!
//! What it holds to, always: secrets over SDS from the agent's Unix socket and from nowhere else; the peer's exact
//! SPIFFE ID on both sides; TLS 1.2 at least and 1.3 at most (as a client Envoy stops at 1.2 by itself); the node
//! sent once per stream (it has 61 kB); no traffic before the first secret (`initial_fetch_timeout: 0s`); and an end
//! to every connection, because a rotation does not end one.

use std::net::SocketAddr;

use identity::{Host, HostPort, SpiffeId};
use serde_json::{Map, Value, json};

use crate::args::{BootstrapArgs, CertificateName, ProxyProtocol};

/// The bootstrap for these arguments.
pub(crate) fn bootstrap(args: &BootstrapArgs) -> Value {
    let mut listeners = Vec::new();
    let mut clusters = vec![agent_cluster(args)];
    if let (Some(listen), Some(upstream)) = (args.listen, &args.upstream) {
        listeners.push(listener(args, Side::Inbound, listen));
        clusters.push(service_cluster(args, Side::Inbound, upstream));
    }
    if let (Some(listen), Some(upstream)) = (args.outbound_listen, &args.outbound_upstream) {
        listeners.push(listener(args, Side::Outbound, listen));
        clusters.push(service_cluster(args, Side::Outbound, upstream));
    }
    let mut document = json!({
        "node": { "id": node_id(args), "cluster": NODE_CLUSTER },
        "static_resources": { "listeners": listeners, "clusters": clusters },
    });
    if let (Some(admin), Some(document)) = (args.admin, document.as_object_mut()) {
        document.insert("admin".into(), json!({ "address": socket_address(admin) }));
    }
    document
}

#[derive(Clone, Copy)]
enum Side {
    Inbound,
    Outbound,
}

impl Side {
    fn cluster(self) -> &'static str {
        match self {
            Self::Inbound => "inbound_upstream",
            Self::Outbound => "outbound_upstream",
        }
    }

    fn listener(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }

    /// Which end of the filter chain or the cluster speaks TLS.
    fn transport_socket(self, args: &BootstrapArgs) -> Value {
        let context = match self {
            Self::Inbound => json!({
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "require_client_certificate": true,
                "common_tls_context": common_tls_context(args, &args.client_ids, self),
            }),
            Self::Outbound => json!({
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "common_tls_context": common_tls_context(args, &args.server_ids, self),
            }),
        };
        json!({ "name": "envoy.transport_sockets.tls", "typed_config": context })
    }
}

fn common_tls_context(args: &BootstrapArgs, peers: &[SpiffeId], side: Side) -> Value {
    let matchers: Vec<_> = peers.iter().map(|id| json!({ "san_type": "URI", "matcher": { "exact": id.as_str() } })).collect();
    let mut context = json!({
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_2",
            "tls_maximum_protocol_version": "TLSv1_3",
        },
        "tls_certificate_sds_secret_configs": [secret(args, &args.id.to_string())],
        "combined_validation_context": {
            "default_validation_context": { "match_typed_subject_alt_names": matchers },
            "validation_context_sds_secret_config": secret(args, trust_bundle(args, peers)),
        },
    });
    // As a server, HTTP/2 must be offered; as a client, Envoy adds the protocol of the connection at hand by itself.
    if let (Side::Inbound, ProxyProtocol::Http, Some(context)) = (side, args.protocol, context.as_object_mut()) {
        context.insert("alpn_protocols".into(), json!(["h2", "http/1.1"]));
    }
    context
}

/// The own trust domain is enough unless a peer is of another one.
fn trust_bundle(args: &BootstrapArgs, peers: &[SpiffeId]) -> &'static str {
    let own = match &args.id {
        CertificateName::Id(id) => Some(id),
        CertificateName::Default => peers.first(),
    };
    let is_foreign = |peer: &SpiffeId| own.is_some_and(|own| own.trust_domain() != peer.trust_domain());
    if peers.iter().any(is_foreign) { EVERY_BUNDLE } else { TRUST_BUNDLE }
}

fn secret(args: &BootstrapArgs, name: &str) -> Value {
    let api_type = if args.delta { "DELTA_GRPC" } else { "GRPC" };
    json!({
        "name": name,
        "sds_config": {
            "resource_api_version": "V3",
            "initial_fetch_timeout": "0s",
            "api_config_source": {
                "api_type": api_type,
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{ "envoy_grpc": { "cluster_name": AGENT_CLUSTER } }],
            },
        },
    })
}

fn listener(args: &BootstrapArgs, side: Side, address: SocketAddr) -> Value {
    let mut chain = Map::new();
    if let Side::Inbound = side {
        chain.insert("transport_socket".into(), side.transport_socket(args));
    }
    chain.insert("filters".into(), json!([network_filter(args, side)]));
    json!({ "name": side.listener(), "address": socket_address(address), "filter_chains": [chain] })
}

fn network_filter(args: &BootstrapArgs, side: Side) -> Value {
    match args.protocol {
        ProxyProtocol::Tcp => json!({
            "name": "envoy.filters.network.tcp_proxy",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                "stat_prefix": side.listener(),
                "cluster": side.cluster(),
                "max_downstream_connection_duration": seconds(args),
            },
        }),
        ProxyProtocol::Http => json!({
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": http_connection_manager(args, side),
        }),
    }
}

fn http_connection_manager(args: &BootstrapArgs, side: Side) -> Value {
    let mut manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": side.listener(),
        "common_http_protocol_options": { "max_connection_duration": seconds(args) },
        "route_config": {
            "virtual_hosts": [{
                "name": side.listener(),
                "domains": ["*"],
                // Zero: a long answer or a stream is the program's own affair.
                "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": side.cluster(), "timeout": "0s" } }],
            }],
        },
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
        }],
    });
    // The program behind learns who called from `x-forwarded-client-cert`; what the caller wrote there itself is dropped.
    if let (Side::Inbound, Some(manager)) = (side, manager.as_object_mut()) {
        manager.insert("forward_client_cert_details".into(), json!("SANITIZE_SET"));
        manager.insert("set_current_client_cert_details".into(), json!({ "uri": true }));
    }
    manager
}

fn agent_cluster(args: &BootstrapArgs) -> Value {
    json!({
        "name": AGENT_CLUSTER,
        "type": "STATIC",
        "connect_timeout": CONNECT_TIMEOUT,
        "typed_extension_protocol_options": { HTTP_OPTIONS: {
            "@type": HTTP_OPTIONS_TYPE,
            "explicit_http_config": { "http2_protocol_options": {} },
        }},
        "load_assignment": assignment(AGENT_CLUSTER, &json!({ "pipe": { "path": args.api_socket.display().to_string() } })),
    })
}

fn service_cluster(args: &BootstrapArgs, side: Side, upstream: &HostPort) -> Value {
    let address = json!({ "socket_address": { "address": upstream.host().to_string(), "port_value": upstream.port() } });
    let discovery = match upstream.host() {
        Host::Ip(_) => "STATIC",
        Host::Dns(_) => "STRICT_DNS",
    };
    let mut cluster = json!({
        "name": side.cluster(),
        "type": discovery,
        "connect_timeout": CONNECT_TIMEOUT,
        "load_assignment": assignment(side.cluster(), &address),
    });
    let Some(fields) = cluster.as_object_mut() else { return cluster };
    if let ProxyProtocol::Http = args.protocol {
        fields.insert(
            "typed_extension_protocol_options".into(),
            json!({ HTTP_OPTIONS: {
                "@type": HTTP_OPTIONS_TYPE,
                "common_http_protocol_options": { "max_connection_duration": seconds(args) },
                "use_downstream_protocol_config": { "http_protocol_options": {}, "http2_protocol_options": {} },
            }}),
        );
    }
    if let Side::Outbound = side {
        fields.insert("transport_socket".into(), side.transport_socket(args));
    }
    cluster
}

fn assignment(cluster: &str, address: &Value) -> Value {
    json!({ "cluster_name": cluster, "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address } }] }] })
}

fn socket_address(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}

fn seconds(args: &BootstrapArgs) -> String {
    format!("{}s", args.max_connection_duration.as_secs())
}

fn node_id(args: &BootstrapArgs) -> String {
    match (&args.node_id, &args.id) {
        (Some(id), _) => id.clone(),
        (None, CertificateName::Id(id)) => format!("envoy~{}{}", id.trust_domain(), id.path().replace('/', "~")),
        (None, CertificateName::Default) => "envoy".to_owned(),
    }
}

const AGENT_CLUSTER: &str = "signet_agent";
const NODE_CLUSTER: &str = "signet";
const TRUST_BUNDLE: &str = "ROOTCA";
/// The same with every trust domain that the caller federates with, each by its own authorities.
const EVERY_BUNDLE: &str = "ALL";
const CONNECT_TIMEOUT: &str = "5s";
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const HTTP_OPTIONS_TYPE: &str = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
