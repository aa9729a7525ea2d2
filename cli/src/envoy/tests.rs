//! The promises of a bootstrap, field by field. That Envoy takes it is for the suite, which has an Envoy.

use clap::Parser;
use serde_json::{Value, json};

use super::bootstrap;
use crate::args::{Cli, Command, EnvoyVerb};

const BOTH: &str = "--id spiffe://t/web --listen 0.0.0.0:8443 --upstream 127.0.0.1:8080 --client-id spiffe://t/a \
    --client-id spiffe://t/b --outbound-listen 127.0.0.1:9001 --outbound-upstream api.example:8443 \
    --server-id spiffe://t/api --admin 127.0.0.1:9901 --api-socket /run/x.sock --max-connection-duration 10m";

fn printed(options: &str) -> Value {
    let line = format!("signet envoy bootstrap {options}");
    let command = Cli::try_parse_from(line.split_whitespace()).unwrap().command;
    let Command::Envoy(EnvoyVerb::Bootstrap(args)) = command else { panic!("{command:?}") };
    bootstrap(&args)
}

fn at<'a>(document: &'a Value, pointer: &str) -> &'a Value {
    document.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is missing in {document:#}"))
}

fn cluster<'a>(document: &'a Value, name: &str) -> &'a Value {
    at(document, "/static_resources/clusters").as_array().unwrap().iter().find(|c| c["name"] == name).unwrap()
}

const INBOUND_TLS: &str = "/static_resources/listeners/0/filter_chains/0/transport_socket/typed_config";
const OUTBOUND_TLS: &str = "/transport_socket/typed_config";

#[test]
fn both_sides_speak_tls_1_2_to_1_3_with_exact_names_over_sds() {
    let document = printed(BOTH);
    let outbound = cluster(&document, "outbound_upstream");
    for (context, peers) in [
        (at(&document, INBOUND_TLS), json!(["spiffe://t/a", "spiffe://t/b"])),
        (at(outbound, OUTBOUND_TLS), json!(["spiffe://t/api"])),
    ] {
        let common = at(context, "/common_tls_context");
        assert_eq!(at(common, "/tls_params/tls_minimum_protocol_version"), "TLSv1_2");
        assert_eq!(at(common, "/tls_params/tls_maximum_protocol_version"), "TLSv1_3");
        let combined = at(common, "/combined_validation_context");
        let matchers = at(combined, "/default_validation_context/match_typed_subject_alt_names").as_array().unwrap();
        let exact: Vec<_> = matchers.iter().map(|matcher| at(matcher, "/matcher/exact").clone()).collect();
        assert_eq!(Value::Array(exact), peers);
        assert!(matchers.iter().all(|matcher| matcher["san_type"] == "URI"));
        let certificate = at(common, "/tls_certificate_sds_secret_configs/0");
        let bundle = at(combined, "/validation_context_sds_secret_config");
        assert_eq!((&certificate["name"], &bundle["name"]), (&json!("spiffe://t/web"), &json!("ROOTCA")));
        for secret in [certificate, bundle] {
            assert_eq!(at(secret, "/sds_config/resource_api_version"), "V3");
            assert_eq!(at(secret, "/sds_config/initial_fetch_timeout"), "0s");
            let source = at(secret, "/sds_config/api_config_source");
            assert_eq!(source["set_node_on_first_message_only"], true);
            assert_eq!(source["transport_api_version"], "V3");
            assert_eq!(at(source, "/grpc_services/0/envoy_grpc/cluster_name"), "signet_agent");
        }
        // Nothing else can be trusted: no file, no inline certificate, no system store.
        assert!(common.get("tls_certificates").is_none() && common.get("validation_context").is_none());
    }
    assert_eq!(at(&document, INBOUND_TLS)["require_client_certificate"], true);
}

#[test]
fn the_agent_is_an_http_2_cluster_on_its_socket() {
    let document = printed(BOTH);
    let agent = cluster(&document, "signet_agent");
    assert_eq!(at(agent, "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/pipe/path"), "/run/x.sock");
    let options = &agent["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
    assert!(at(options, "/explicit_http_config/http2_protocol_options").is_object());
    // SDS needs a node with both.
    assert_eq!(at(&document, "/node"), &json!({ "id": "envoy~t~web", "cluster": "signet" }));
}

#[test]
fn every_connection_ends() {
    let document = printed(BOTH);
    for side in [0, 1] {
        let filter = format!("/static_resources/listeners/{side}/filter_chains/0/filters/0/typed_config");
        assert_eq!(at(at(&document, &filter), "/common_http_protocol_options/max_connection_duration"), "600s");
    }
    let options = &cluster(&document, "outbound_upstream")["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
    assert_eq!(at(options, "/common_http_protocol_options/max_connection_duration"), "600s");
    let tcp = printed(&format!("{BOTH} --protocol tcp"));
    for side in [0, 1] {
        let filter = format!("/static_resources/listeners/{side}/filter_chains/0/filters/0/typed_config");
        assert_eq!(at(at(&tcp, &filter), "/max_downstream_connection_duration"), "600s");
    }
}

#[test]
fn plain_text_stands_only_on_the_inner_side() {
    let document = printed(BOTH);
    assert!(cluster(&document, "inbound_upstream").get("transport_socket").is_none());
    assert!(document.pointer("/static_resources/listeners/1/filter_chains/0/transport_socket").is_none());
    assert_eq!(at(&document, "/static_resources/listeners/1/address/socket_address/address"), "127.0.0.1");
    assert_eq!(cluster(&document, "inbound_upstream")["type"], "STATIC");
    assert_eq!(cluster(&document, "outbound_upstream")["type"], "STRICT_DNS");
}

#[test]
fn what_was_not_asked_for_is_not_there() {
    let document = printed("--id default");
    assert!(document.get("admin").is_none());
    assert_eq!(at(&document, "/static_resources/listeners"), &json!([]));
    assert_eq!(at(&document, "/static_resources/clusters").as_array().unwrap().len(), 1);
    let inbound = printed("--id default --listen [::1]:1 --upstream 127.0.0.1:2 --client-id spiffe://t/a --node-id n");
    let name = "/common_tls_context/tls_certificate_sds_secret_configs/0/name";
    assert_eq!(at(at(&inbound, INBOUND_TLS), name), "default");
    assert_eq!(at(&inbound, "/static_resources/listeners/0/address/socket_address/address"), "::1");
    assert_eq!(at(&inbound, "/node/id"), "n");
}

#[test]
fn secrets_come_whole_or_by_changes_as_asked() {
    for (flag, api_type) in [("", "GRPC"), (" --delta", "DELTA_GRPC")] {
        let document = printed(&format!("{BOTH}{flag}"));
        let context = at(&document, INBOUND_TLS);
        for secret in [
            "/common_tls_context/tls_certificate_sds_secret_configs/0",
            "/common_tls_context/combined_validation_context/validation_context_sds_secret_config",
        ] {
            assert_eq!(at(at(context, secret), "/sds_config/api_config_source/api_type"), api_type);
        }
    }
}
