//! `/proc/<pid>/cgroup`: the container that a second, simpler reading finds, and never one that a tenant made up.

use node_agent::workload::{ContainerPlace, container_of};

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let found = container_of(text);
    for begin in (0..text.len()).filter_map(|cut| text.get(..cut)).filter(|begin| !begin.ends_with('\n')) {
        assert!(container_of(begin).is_err(), "a list that is cut names a container");
    }
    let Ok(found) = found else { return };
    if let Some(place) = &found {
        check(text, place);
        let in_each_line = |line: &str| container_of(&format!("{line}\n")).is_ok_and(|of_line| of_line.as_ref() == Some(place));
        if text.split_terminator('\n').all(in_each_line) {
            let nested = text.replace('\n', "/kubepods/besteffort/pod00000000-0000-0000-0000-000000000000/x\n");
            assert_eq!(container_of(&nested).ok().flatten().as_ref(), Some(place), "a name below the container counts");
        }
    }
    assert_eq!(container_of(&format!("{text}{text}")), Ok(found), "what is said twice is the same");
}

/// In the path of some line pod and container stand as they were found, the pod before the container, and no other pod before it.
fn check(text: &str, ContainerPlace { pod_uid, container_id }: &ContainerPlace) {
    assert!(matches!(pod_uid.len(), 32 | 36) && container_id.len() == 64, "no UID or no ID");
    let names = [format!("pod{pod_uid}"), format!("pod{}", pod_uid.replace('-', "_"))];
    let is_in = |line: &str| {
        let path = line.splitn(3, ':').nth(2).unwrap_or_default();
        let pod = names.iter().filter_map(|name| path.find(name.as_str())).min();
        let container = path.find(container_id.as_str());
        let above = pod.and_then(|pod| path.get(..pod)).unwrap_or_default();
        pod.zip(container).is_some_and(|(pod, container)| pod < container) && !above.contains("/pod")
    };
    assert!(text.split_terminator('\n').any(is_in), "{pod_uid} and {container_id} stand in no line");
}
