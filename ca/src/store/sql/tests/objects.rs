//! Entries that objects of a cluster ask for: whose they are, and who changes them.

use super::*;
use crate::entry_plan::{EntryPlan, Scope, Wanted};
use crate::records::{AgentPod, ClusterObject, EntryEdit, Memberships};
use crate::store::{
    Apply, ApplyError, Change, EntryFilter, EntryStore, Fence, NodeStore, ProvisioningStore, ReplicaStore, StoreHealth,
};

fn asked(cluster: &str, name: &str, uid: &str) -> NewEntry {
    let [cluster, namespace, uid] = [cluster, "shop", uid].map(str::to_owned);
    let object = ClusterObject { cluster, namespace, name: name.to_owned(), uid };
    NewEntry {
        parent: Parent::Object(Box::new(object)),
        ..entry(&format!("ns/shop/{name}"), "unused", &["k8s:ns:shop", "k8s:sa:web"])
    }
}

fn of_cluster(cluster: &str, wanted: Vec<NewEntry>) -> Apply {
    // New ones each time: an id is given once.
    let new_ids =
        wanted.iter().map(|_| EntryId::from_random(runtime::entropy::bytes(&runtime::entropy::SystemEntropy))).collect();
    let wanted = wanted.into_iter().map(|spec| Wanted { id: None, spec }).collect();
    let scope = Scope { cluster: Some(cluster.to_owned()), ..Scope::default() };
    Apply { scope, wanted, prune: true, expected_version: None, fence: None, new_ids }
}

impl Fixture {
    async fn follow(&self, cluster: &str, wanted: Vec<NewEntry>) -> EntryPlan {
        self.store.apply_entries(of_cluster(cluster, wanted), Actor::System, at(10)).await.unwrap()
    }

    /// Binds a pod of a cluster on a node to the key of which every byte is `key`.
    async fn vouched(&self, cluster: &str, name: &str, key: u8) {
        let [namespace, account, pod] = ["signet", "agent", "agent-1"].map(str::to_owned);
        let pod =
            AgentPod { cluster: cluster.to_owned(), node: node(name), namespace, account, pod, uid: format!("u-{name}-{key}") };
        self.store.bind_agent_pod(pod, vec![key; 91], at(u64::from(key))).await.unwrap();
    }

    /// What a node has, and of which cluster it is.
    async fn has(&self, name: &str) -> (Vec<String>, Option<String>) {
        let found = self.store.node_entries(node(name)).await.unwrap();
        let entries = found.entries().iter().map(|entry| entry.spec.spiffe_id.path().to_owned()).collect();
        let Memberships { aliases: _, cluster } = found.memberships().clone();
        (entries, cluster)
    }
}

#[tokio::test]
async fn what_an_object_asks_for_is_had_by_the_nodes_that_its_cluster_vouches_for_and_while_it_does() {
    let Some(fixture) = Fixture::new() else { return };
    let store = &fixture.store;
    let nobody = (Vec::<String>::new(), None);
    fixture.follow("east", vec![asked("east", "web", "u1")]).await;
    for name in ["n1", "n2", "n3"] {
        assert_eq!(fixture.has(name).await, nobody);
    }
    fixture.vouched("east", "n1", 1).await;
    fixture.vouched("west", "n2", 2).await;
    fixture.token(3, "n3").await.unwrap();
    fixture.redeem(3, 3, 1).await.unwrap();
    let of_east = (vec!["/ns/shop/web".to_owned()], Some("east".to_owned()));
    assert_eq!(fixture.has("n1").await, of_east);
    assert_eq!(fixture.has("n2").await, (vec![], Some("west".to_owned())));
    assert_eq!(fixture.has("n3").await, nobody);
    assert_eq!(store.entries(EntryFilter::Node(node("n1"))).await.unwrap().len(), 1);
    let fixture = fixture.reopened();
    assert_eq!(fixture.has("n1").await, of_east);

    // A node whose key an operator replaces is not of the cluster any more, and one that a new pod takes over is.
    fixture.token(4, "n1").await.unwrap();
    fixture.redeem(4, 4, 1).await.unwrap();
    assert_eq!(fixture.has("n1").await, nobody);
    fixture.vouched("east", "n4", 5).await;
    assert_eq!(fixture.has("n4").await, of_east);
    fixture.vouched("east", "n4", 6).await;
    assert_eq!(fixture.has("n4").await, of_east);
    fixture.store.evict_node(node("n4"), OPERATOR, at(20)).await.unwrap();
    assert_eq!(fixture.has("n4").await, nobody);
    fixture.vouched("east", "n4", 7).await;
    assert_eq!(fixture.has("n4").await, of_east);
    fixture.store.ban_node(node("n4"), OPERATOR, at(21)).await.unwrap();
    assert_eq!(fixture.has("n4").await, nobody);
}

#[tokio::test]
async fn a_cluster_is_followed_in_one_plan_which_touches_nothing_else() {
    let Some(fixture) = Fixture::new() else { return };
    let store = &fixture.store;
    let mut changes = store.changes();
    store.create_entry(entry_id(1), entry("ns/shop/web", "n1", &["k8s:ns:shop", "k8s:sa:web"]), OPERATOR, at(0)).await.unwrap();
    fixture.follow("west", vec![asked("west", "web", "u9")]).await;
    let made = fixture.follow("east", vec![asked("east", "web", "u1"), asked("east", "api", "u2")]).await;
    assert_eq!((made.changes.len(), made.unchanged), (2, 0));
    let same = fixture.follow("east", vec![asked("east", "web", "u1"), asked("east", "api", "u2")]).await;
    assert_eq!((same.changes.len(), same.unchanged), (0, 2));
    // One changes and stays the same entry, one is made anew by another object of its name.
    let changed = NewEntry { hint: Hint::parse("new").unwrap(), ..asked("east", "web", "u1") };
    let plan = fixture.follow("east", vec![changed.clone(), asked("east", "api", "u3")]).await;
    assert_eq!((plan.changes.len(), plan.unchanged), (3, 0));
    assert_eq!(fixture.follow("east", vec![changed]).await.changes.len(), 1);
    let left = store.entries(EntryFilter::Cluster("east".to_owned())).await.unwrap();
    assert_eq!((left.len(), left[0].revision, left[0].spec.hint.as_str()), (1, 2, "new"));
    assert_eq!(store.entries(EntryFilter::All).await.unwrap().len(), 3, "an operator's and another cluster's are as they were");
    let events = fixture.events().await;
    let of_object = events.iter().filter(|event| event.body.contains("IdentityEntry shop/api u2 of east")).count();
    assert_eq!(of_object, 2, "made and deleted: {events:?}");
    let mut told = 0;
    while let Ok(change) = changes.try_recv() {
        told += usize::from(change == Change::EntriesOfClusters);
    }
    assert_eq!(told, 4, "each of the plans that changed anything, once");
}

#[tokio::test]
async fn operators_change_no_entry_of_an_object_by_hand_or_by_a_document() {
    let Some(fixture) = Fixture::new() else { return };
    let store = &fixture.store;
    fixture.follow("east", vec![asked("east", "web", "u1")]).await;
    let made = store.entries(EntryFilter::All).await.unwrap().remove(0);
    let edit = EntryEdit { ttl: Some(Some(std::time::Duration::from_secs(60))), ..EntryEdit::default() };
    let refused = store.update_entry(made.id.clone(), None, edit, OPERATOR, at(20)).await.unwrap_err();
    assert!(matches!(refused, StoreError::OfObject { .. }), "{refused}");
    assert!(refused.to_string().contains("IdentityEntry shop/web u1 of east"), "{refused}");
    let everything = Apply { scope: Scope::default(), ..of_cluster("east", vec![]) };
    assert!(store.apply_entries(everything, OPERATOR, at(20)).await.unwrap().changes.is_empty());
    let path = Scope { path_prefix: Some("/ns/shop".to_owned()), ..Scope::default() };
    let below = Apply { scope: path, ..of_cluster("east", vec![]) };
    assert!(store.apply_entries(below, OPERATOR, at(20)).await.unwrap().changes.is_empty());
    let foreign = of_cluster("west", vec![asked("east", "api", "u2")]);
    assert!(matches!(store.apply_entries(foreign, OPERATOR, at(20)).await, Err(ApplyError::Plan(_))));
    assert_eq!(store.entries(EntryFilter::All).await.unwrap(), [made]);
}

#[tokio::test]
async fn whoever_does_not_lead_any_more_changes_nothing() {
    let Some(fixture) = Fixture::new() else { return };
    let store = &fixture.store;
    let registration = registration("ca-1", 1);
    let epoch = store.register(registration.clone(), None, at(0)).await.unwrap();
    let fence = Fence { replica: registration.replica, epoch, lead: None };
    let leading = Fence { lead: Some(store.take_lead(fence.clone(), None, at(0)).await.unwrap()), ..fence.clone() };
    let by = |fence: &Fence| Apply { fence: Some(fence.clone()), ..of_cluster("east", vec![asked("east", "web", "u1")]) };
    let later = Fence { epoch: epoch + 1, ..leading.clone() };
    for other in [&fence, &later] {
        let refused = store.apply_entries(by(other), Actor::System, at(1)).await;
        assert!(matches!(refused, Err(ApplyError::Store(StoreError::Fenced { .. }))), "{refused:?}");
    }
    assert!(store.entries(EntryFilter::All).await.unwrap().is_empty());
    assert_eq!(store.apply_entries(by(&leading), Actor::System, at(1)).await.unwrap().changes.len(), 1);
}
