//! The manifests of this repository as kustomize and Helm render them, by the program of `tests/render`.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tests::renderer_program;

/// Where the manifests lie.
pub(super) fn manifests_directory() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/kubernetes"))
}

/// The objects of a kustomization of `deploy/kubernetes`, such as `overlays/ha`.
pub(super) fn kustomized(directory: &str) -> Vec<Value> {
    let directory = manifests_directory().join(directory);
    rendered(Command::new(program()).arg("kustomize").arg(directory))
}

/// The objects of the chart for the namespace `signet`, with values from files of `helm/values`, such as `ha`.
pub(super) fn charted(values: &[&str]) -> Vec<Value> {
    let helm = manifests_directory().join("helm");
    let files = values.iter().map(|name| helm.join(format!("values/{name}.yaml")));
    rendered(Command::new(program()).arg("helm").arg(helm.join("signet")).arg("signet").args(files))
}

fn program() -> PathBuf {
    renderer_program().expect("the test asked for the renderer")
}

fn rendered(command: &mut Command) -> Vec<Value> {
    let output = command.output().expect("the renderer can be started");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    lines.lines().map(|line| serde_json::from_str(line).expect("each line is an object")).collect()
}
