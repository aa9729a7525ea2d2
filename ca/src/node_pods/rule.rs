//! An identity is for a node only while a live pod that has it runs there. Pure, and the one place where this is decided.

use kubernetes::pods::{Phase, Pod};

/// The pod that must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sought<'a> {
    /// On which node.
    pub(crate) node: &'a str,
    /// In which namespace.
    pub(crate) namespace: &'a str,
    /// As which service account it runs.
    pub(crate) account: &'a str,
    /// Its name and its UID, where it must be one and no other.
    pub(crate) pod: Option<(&'a str, &'a str)>,
}

/// Why there is no such pod. Of several that were looked at, what is said is of the one that came closest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(crate) enum NoLivePod {
    /// None.
    #[error("there is none")]
    NotThere,
    /// One of the name, which came after the one that is meant or was before it.
    #[error("the one of this name is another one (its UID differs)")]
    OtherUid,
    /// It is not on the node.
    #[error("it is on another node")]
    OtherNode,
    /// It runs as somebody else.
    #[error("it runs as another service account")]
    OtherAccount,
    /// It has ended.
    #[error("it has ended")]
    Ended,
    /// It is about to end.
    #[error("it is being deleted")]
    Terminating,
}

/// Finds the live pod among the pods of a node: bound to this very node, as this account, with the UID that is meant, not being deleted, and
/// neither ended nor in a state that nobody knows. One that has not started yet counts: it may need its identity to start.
///
/// # Errors
/// [`NoLivePod`].
pub(crate) fn live_pod<'p>(pods: &[&'p Pod], sought: &Sought<'_>) -> Result<&'p Pod, NoLivePod> {
    let mut closest = NoLivePod::NotThere;
    for pod in pods {
        match judge(pod, sought) {
            Ok(()) => return Ok(pod),
            Err(why) => closest = closest.max(why),
        }
    }
    Err(closest)
}

fn judge(pod: &Pod, sought: &Sought<'_>) -> Result<(), NoLivePod> {
    let Sought { node, namespace, account, pod: named } = *sought;
    let is_account = pod.service_account.as_deref() == Some(account);
    if pod.namespace != namespace {
        return Err(NoLivePod::NotThere);
    }
    match named {
        Some((name, _)) if pod.name != name => return Err(NoLivePod::NotThere),
        Some((_, uid)) if pod.uid != uid => return Err(NoLivePod::OtherUid),
        None if !is_account => return Err(NoLivePod::NotThere),
        Some(_) | None => {}
    }
    if pod.node.as_deref() != Some(node) {
        return Err(NoLivePod::OtherNode);
    }
    if !is_account {
        return Err(NoLivePod::OtherAccount);
    }
    if pod.is_terminating {
        return Err(NoLivePod::Terminating);
    }
    match pod.phase {
        Phase::Pending | Phase::Running => Ok(()),
        Phase::Succeeded | Phase::Failed | Phase::Unknown => Err(NoLivePod::Ended),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Pod {
        Pod {
            namespace: "shop".to_owned(),
            name: "web-1".to_owned(),
            uid: "u1".to_owned(),
            node: Some("n1".to_owned()),
            service_account: Some("web".to_owned()),
            phase: Phase::Running,
            is_terminating: false,
            version: "1".to_owned(),
        }
    }

    fn changed(change: impl FnOnce(&mut Pod)) -> Pod {
        let mut pod = pod();
        change(&mut pod);
        pod
    }

    const BY_ACCOUNT: Sought<'static> = Sought { node: "n1", namespace: "shop", account: "web", pod: None };
    const BY_NAME: Sought<'static> = Sought { pod: Some(("web-1", "u1")), ..BY_ACCOUNT };

    fn found(pod: Pod) -> [Result<(), NoLivePod>; 2] {
        let pods = [&pod];
        [&BY_ACCOUNT, &BY_NAME].map(|sought| live_pod(&pods, sought).map(drop))
    }

    #[test]
    fn a_pod_that_starts_or_runs_there_as_this_account_is_found() {
        assert_eq!(found(pod()), [Ok(()), Ok(())]);
        assert_eq!(found(changed(|pod| pod.phase = Phase::Pending)), [Ok(()), Ok(())]);
        assert_eq!(found(changed(|pod| pod.version = "900".to_owned())), [Ok(()), Ok(())]);
    }

    /// What is changed of a pod, and what is found then by account and by name.
    type Change = (fn(&mut Pod), [Result<(), NoLivePod>; 2]);

    #[test]
    fn each_thing_that_is_another_is_told_and_none_is_passed_over() {
        use NoLivePod::{Ended, NotThere, OtherAccount, OtherNode, OtherUid, Terminating};
        assert_eq!([&BY_ACCOUNT, &BY_NAME].map(|sought| live_pod(&[], sought)), [Err(NotThere), Err(NotThere)]);
        let changes: [Change; 11] = [
            (|pod| pod.namespace = "mall".to_owned(), [Err(NotThere), Err(NotThere)]),
            (|pod| pod.name = "web-2".to_owned(), [Ok(()), Err(NotThere)]),
            (|pod| pod.uid = "u2".to_owned(), [Ok(()), Err(OtherUid)]),
            (|pod| pod.node = Some("n2".to_owned()), [Err(OtherNode), Err(OtherNode)]),
            (|pod| pod.node = None, [Err(OtherNode), Err(OtherNode)]),
            (|pod| pod.service_account = Some("api".to_owned()), [Err(NotThere), Err(OtherAccount)]),
            (|pod| pod.service_account = None, [Err(NotThere), Err(OtherAccount)]),
            (|pod| pod.is_terminating = true, [Err(Terminating), Err(Terminating)]),
            (|pod| pod.phase = Phase::Succeeded, [Err(Ended), Err(Ended)]),
            (|pod| pod.phase = Phase::Failed, [Err(Ended), Err(Ended)]),
            (|pod| pod.phase = Phase::Unknown, [Err(Ended), Err(Ended)]),
        ];
        for (place, (change, want)) in changes.into_iter().enumerate() {
            assert_eq!(found(changed(change)), want, "{place}");
        }
    }

    #[test]
    fn one_good_pod_among_others_is_enough_and_of_bad_ones_the_closest_is_told() {
        let ended = changed(|pod| pod.phase = Phase::Failed);
        let leaving = changed(|pod| pod.is_terminating = true);
        let elsewhere = changed(|pod| pod.node = Some("n2".to_owned()));
        let others = [&ended, &elsewhere, &leaving, &ended];
        assert_eq!(live_pod(&others, &BY_ACCOUNT), Err(NoLivePod::Terminating));
        let good = pod();
        let with_good = [others.as_slice(), &[&good]].concat();
        assert_eq!(live_pod(&with_good, &BY_ACCOUNT), Ok(&good));
        assert_eq!(live_pod(&[&elsewhere], &BY_ACCOUNT), Err(NoLivePod::OtherNode));
    }
}
