//! The names of control groups as kubelets and container runtimes make them, and as others do.

use proptest::prelude::*;

use super::*;

/// What stands for what in the cases: container IDs, UIDs as the API has them and as slices have them, and the hash of a static pod.
fn filled(text: &str) -> String {
    let (uid, other) = ("0f9a1b2c-3d4e-4f50-8a1b-0123456789ab", "ffffffff-0000-4000-8000-fedcba987654");
    text.replace("<A>", &"a1".repeat(32))
        .replace("<B>", &"b2".repeat(32))
        .replace("<U>", uid)
        .replace("<V>", other)
        .replace("<U_>", &uid.replace('-', "_"))
        .replace("<V_>", &other.replace('-', "_"))
        .replace("<S>", &"0c".repeat(16))
}

/// Each line: what `/proc/<pid>/cgroup` says (`;` for a line break), a tab, and the container, `-` for none, or `!` where it is refused.
#[test]
fn the_outermost_container_that_a_kubelet_made_counts() {
    let mut seen = [0, 0, 0];
    for case in include_str!("cases.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (text, expected) = case.split_once('\t').expect("text, tab, container");
        let found = container_of(&format!("{}\n", filled(text).replace(';', "\n")));
        let (place, want) = match &found {
            Ok(Some(place)) => (0, format!("{} {}", place.pod_uid, place.container_id)),
            Ok(None) => (1, "-".to_owned()),
            Err(_) => (2, "!".to_owned()),
        };
        assert_eq!(want, filled(expected), "{case}: {found:?}");
        seen[place] += 1;
    }
    assert!(seen.iter().all(|count| *count >= 12) && seen.iter().sum::<usize>() >= 90, "{seen:?}");
}

#[test]
fn a_list_that_is_cut_names_no_container_and_the_whole_one_does() {
    let text = filled("0::/kubepods/pod<U>/<A>\n");
    assert!(matches!(container_of(&text), Ok(Some(_))));
    for cut in 0..text.len() {
        assert_eq!(container_of(&text[..cut]), Err(PlaceError::List(ListFault::Cut)), "{cut}");
    }
    assert_eq!(container_of("0:/kubepods\n"), Err(PlaceError::List(ListFault::Malformed)));
}

const CONTAINERS: [&str; 6] = [
    "/kubepods/burstable/pod<U>/<A>",
    "/kubepods.slice/kubepods-pod<U_>.slice/cri-containerd-<A>.scope",
    "/../../kubepods-besteffort-pod<U_>.slice/crio-<A>.scope",
    "/../pod<U>/<A>",
    "/kubepods-burstable-pod<U_>.slice:cri-containerd:<A>",
    "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod<U_>.slice/docker-<A>.scope",
];

const OTHERS: [&str; 5] =
    ["kubepods", "pod<V>", "<B>", "kubepods.slice/kubepods-pod<V_>.slice/cri-containerd-<B>.scope", "kubepods/pod<V>/<B>"];

proptest! {
    /// Whatever a tenant makes below its container.
    #[test]
    fn nothing_below_a_container_changes_which_one_it_is(
        container in 0..CONTAINERS.len(),
        below in prop::collection::vec(prop_oneof![prop::sample::select(OTHERS.to_vec()).prop_map(str::to_owned), "[^/\n]{1,12}"], 0..5),
    ) {
        prop_assume!(below.iter().all(|name| name != "." && name != ".."));
        let path = std::iter::once(CONTAINERS[container].to_owned()).chain(below).collect::<Vec<_>>().join("/");
        let found = container_of(&format!("0::{}\n", filled(&path)));
        let want = ContainerPlace { pod_uid: filled("<U>"), container_id: filled("<A>") };
        prop_assert_eq!(found, Ok(Some(want)));
    }

    /// Whatever is put above it, other than what a kubelet has there.
    #[test]
    fn nobody_makes_a_container_elsewhere(
        above in prop::collection::vec("[a-z@.0-9-]{1,12}", 1..4),
        container in prop::sample::select(vec![CONTAINERS[0], CONTAINERS[1], CONTAINERS[5]]),
    ) {
        prop_assume!(above != ["kubelet"] && above.iter().all(|name| name != "." && name != ".."));
        let text = filled(&format!("0::/{}{container}\n", above.join("/")));
        prop_assert!(container_of(&text).is_err(), "{}", text);
    }
}
