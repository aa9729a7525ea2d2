//! From a container to the selectors of its pod, by what is known of the pods of the node. Pure.

use std::collections::BTreeSet;

use identity::{Selector, SelectorError, SelectorKind};
use kubernetes::pods::{ContainerDetail, Phase, PodDetail};

use super::cgroup::ContainerPlace;

/// Why a container gives no selectors, neither all of them nor some.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoSelectors {
    /// Its kubelet has not told of it yet, or there is no such container any more.
    #[error("the API server does not list container {0} on this node, as the one that its kubelet runs now")]
    NotListed(ContainerPlace),
    /// Two pods have it, or one has it twice.
    #[error("more than one container that the API server lists has the ID of container {0}")]
    Ambiguous(ContainerPlace),
    /// Its pod is bound to another node.
    #[error("the API server lists container {0} on another node")]
    OtherNode(ContainerPlace),
    /// The API server says that it runs no more.
    #[error("the pod of container {0} has ended, as the API server has it")]
    Ended(ContainerPlace),
    /// It has more labels or containers than are kept.
    #[error("the pod of container {0} has more than 256 labels or containers")]
    TooMuch(ContainerPlace),
    /// The API server calls something what it should not.
    #[error("the pod of container {place} is not believed: {error}")]
    Odd {
        /// Which container.
        place: ContainerPlace,
        /// What is wrong with it.
        error: SelectorError,
    },
}

impl NoSelectors {
    /// Whether it may be otherwise in a moment.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::NotListed(_))
    }
}

/// The selectors of a container on `node`, by the pods that claim its pod's UID there. A pod has them only when it lists this very container,
/// by an ID that is never given twice: that its UID is claimed is not enough, since whoever may make pods may have one claim that of a static
/// pod, and only kubelets tell which containers run.
///
/// # Errors
/// [`NoSelectors`].
pub(crate) fn selectors_of<'p>(
    place: &ContainerPlace,
    pods: impl Iterator<Item = &'p PodDetail>,
    node: &str,
) -> Result<BTreeSet<Selector>, NoSelectors> {
    let of_pod = |detail: &'p PodDetail| {
        let is_this = |container: &&ContainerDetail| container.id.as_deref() == Some(place.container_id.as_str());
        detail.containers.iter().filter(is_this).map(move |container| (detail, container))
    };
    let mut listed = pods.filter(|detail| detail.uid_on_node() == Some(place.pod_uid.as_str())).flat_map(of_pod);
    let (detail, container) = listed.next().ok_or_else(|| NoSelectors::NotListed(place.clone()))?;
    if listed.next().is_some() {
        return Err(NoSelectors::Ambiguous(place.clone()));
    }
    if detail.pod.node.as_deref() != Some(node) {
        return Err(NoSelectors::OtherNode(place.clone()));
    }
    if detail.is_cut {
        return Err(NoSelectors::TooMuch(place.clone()));
    }
    match detail.pod.phase {
        // Containers that prepare a pod run while it is pending. One that is being deleted may need its identity to end well.
        Phase::Pending | Phase::Running => {}
        Phase::Succeeded | Phase::Failed | Phase::Unknown => return Err(NoSelectors::Ended(place.clone())),
    }
    all_of(detail, container).map_err(|error| NoSelectors::Odd { place: place.clone(), error })
}

fn all_of(detail: &PodDetail, container: &ContainerDetail) -> Result<BTreeSet<Selector>, SelectorError> {
    let pod = &detail.pod;
    let one = |kind, value: &str| std::iter::once((kind, value.to_owned()));
    // A static pod has no account, and not every container runtime tells both names of an image.
    let some = |kind, value: Option<&str>| value.filter(|value| !value.is_empty()).map(|value| (kind, value.to_owned()));
    one(SelectorKind::PodNamespace, &pod.namespace)
        .chain(some(SelectorKind::PodServiceAccount, pod.service_account.as_deref()))
        .chain(one(SelectorKind::PodName, &pod.name))
        .chain(one(SelectorKind::PodUid, &pod.uid))
        .chain(detail.labels.iter().map(|(key, value)| (SelectorKind::PodLabel, format!("{key}:{value}"))))
        .chain(one(SelectorKind::ContainerName, &container.name))
        .chain(some(SelectorKind::ContainerImage, Some(&container.image)))
        .chain(some(SelectorKind::ContainerImage, Some(&container.image_id)))
        .map(|(kind, value)| Selector::new(kind, &value))
        .collect()
}

#[cfg(test)]
mod tests;
