//! The one function that changes a lifecycle.

use identity::ReplicaName;
use pki::Timestamp;

use super::gate::Gate;
use super::{Adopted, Authority, AuthorityKind, AuthorityName, Effect, Event, Lifecycle, MOST_IN_FORCE, Material, Refusal, Slot};

/// What an event leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Transition {
    /// The state from now on; to be stored before anything is done about it. Equal to the one before when nothing changed.
    pub state: Lifecycle,
    /// What to do, in this order.
    pub effects: Vec<Effect>,
}

/// What `event` makes of `state` at `now`. An event that has happened already changes nothing and asks for nothing.
///
/// # Errors
/// [`Refusal`], with the way out.
pub fn apply(state: &Lifecycle, event: Event, now: Timestamp) -> Result<Transition, Refusal> {
    let mut next = Next { state: state.clone(), effects: Vec::new(), now };
    match event {
        Event::Adopt(adopted) => next.adopt(adopted)?,
        Event::Prepare(kind) => next.prepare(kind)?,
        Event::Made { name, material } => next.made(name, material)?,
        Event::Published { sequence } => next.published(sequence),
        Event::Activate { name, gate } => next.activate(name, gate)?,
        Event::Taint(name) => next.taint(name)?,
        Event::Revoke { name, gate } => next.revoke(name, gate)?,
        Event::Destroyed(name) => next.destroyed(name)?,
        Event::TaintReplica(replica) => next.taint_replica(&replica),
        Event::RevokeReplica { replica, gate } => next.revoke_replica(&replica, gate)?,
    }
    Ok(Transition { state: next.state, effects: next.effects })
}

/// What a state asks for after a crash, whatever was done of it before: everything that might not have been done.
#[must_use]
pub fn resume(state: &Lifecycle) -> Vec<Effect> {
    let mut effects = Vec::new();
    for authority in state.authorities().filter(|authority| authority.slot == Slot::Making) {
        // An issuing CA is made when its root was: the event of that asks for it.
        let is_parent_made = authority.parent.is_none_or(|parent| state.get(parent).is_some_and(|root| root.material.is_some()));
        if is_parent_made {
            effects.push(Effect::Make { name: authority.name, parent: authority.parent });
        }
    }
    effects.extend([Effect::Publish, Effect::Sign]);
    let undestroyed = state.authorities().filter(|authority| authority.slot == Slot::Revoked && !authority.destroyed);
    effects.extend(undestroyed.map(|authority| Effect::Destroy(authority.name)));
    effects
}

struct Next {
    state: Lifecycle,
    effects: Vec<Effect>,
    now: Timestamp,
}

impl Next {
    fn adopt(&mut self, Adopted { name, material }: Adopted) -> Result<(), Refusal> {
        if let Some(known) = self.state.get(name) {
            let same = known.material.as_ref().is_some_and(|known| known.key == material.key);
            return if same { Ok(()) } else { Err(Refusal::Adoption(name, "the name is taken")) };
        }
        let parent = match name.kind {
            AuthorityKind::Issuer => {
                let root = self.state.active(AuthorityKind::Root);
                Some(root.ok_or(Refusal::Adoption(name, "there is no active root"))?.name)
            }
            AuthorityKind::Root if self.state.active(AuthorityKind::Root).is_some() => {
                return Err(Refusal::Adoption(name, "a root is replaced by `signet drill root` alone"));
            }
            AuthorityKind::Root | AuthorityKind::Jwt => None,
        };
        self.retire_active(name.kind);
        let authority = Authority { slot: Slot::Active, material: Some(material), ..self.begin(name, parent) };
        self.state.authorities.insert(name, authority);
        self.effects.extend([Effect::Publish, Effect::Sign]);
        Ok(())
    }

    fn prepare(&mut self, kind: AuthorityKind) -> Result<(), Refusal> {
        if self.state.active(kind).is_none() {
            return Err(Refusal::PluggedIn(kind));
        }
        if let Some(next) = self.state.next(kind) {
            let name = next.name;
            if kind == AuthorityKind::Root && next.slot == Slot::Prepared {
                self.prepare_signer_under(name);
            }
            return Ok(());
        }
        let kinds = if kind == AuthorityKind::Root { &[AuthorityKind::Root, AuthorityKind::Issuer][..] } else { &[kind] };
        for kind in kinds.iter().copied() {
            if self.state.of(kind).filter(|authority| authority.is_in_force()).count() >= MOST_IN_FORCE {
                return Err(Refusal::TooMany { kind, most: MOST_IN_FORCE });
            }
        }
        let parent = match kind {
            AuthorityKind::Issuer => self.state.active(AuthorityKind::Root).map(|root| root.name),
            AuthorityKind::Root | AuthorityKind::Jwt => None,
        };
        let name = self.add(kind, parent);
        self.effects.push(Effect::Make { name, parent });
        if kind == AuthorityKind::Root {
            self.add(AuthorityKind::Issuer, Some(name));
        }
        Ok(())
    }

    /// A root that waits for long may see the issuing CA under it end, or dropped.
    fn prepare_signer_under(&mut self, root: AuthorityName) {
        let now = self.now;
        let will_sign = |issuer: &Authority| matches!(issuer.slot, Slot::Making | Slot::Prepared) && !issuer.has_ended(now);
        if self.state.under(root).any(will_sign) {
            return;
        }
        let ended: Vec<_> = self.state.under(root).filter(|issuer| issuer.is_in_force()).map(|issuer| issuer.name).collect();
        for name in ended {
            self.change(name, Slot::Revoked, |_| ());
            self.effects.push(Effect::Destroy(name));
        }
        let name = self.add(AuthorityKind::Issuer, Some(root));
        self.effects.push(Effect::Make { name, parent: Some(root) });
    }

    fn made(&mut self, name: AuthorityName, material: Material) -> Result<(), Refusal> {
        let authority = self.find(name)?;
        if let Some(known) = &authority.material {
            return if known.key == material.key { Ok(()) } else { Err(Refusal::MadeTwice(name)) };
        }
        if authority.slot != Slot::Making {
            return Err(self.wrong_slot(name, "it was dropped while it was made; its key is to be destroyed".to_owned()));
        }
        self.change(name, Slot::Prepared, |authority| authority.material = Some(material));
        match name.kind {
            AuthorityKind::Root => {
                let under: Vec<_> =
                    self.state.under(name).filter(|issuer| issuer.slot == Slot::Making).map(|issuer| issuer.name).collect();
                self.effects.extend(under.into_iter().map(|issuer| Effect::Make { name: issuer, parent: Some(name) }));
                self.effects.push(Effect::Publish);
            }
            AuthorityKind::Jwt => self.effects.push(Effect::Publish),
            // Its root is in the bundle, and it comes with each leaf.
            AuthorityKind::Issuer => {}
        }
        Ok(())
    }

    fn published(&mut self, sequence: u64) {
        let tainted: Vec<_> = self.state.tainted().map(|authority| authority.name).collect();
        let others = self.state.others.values_mut().map(|foreign| &mut foreign.authority);
        for authority in self.state.authorities.values_mut().chain(others) {
            if authority.is_in_bundle() {
                authority.published_in.get_or_insert(sequence);
            }
            if tainted.contains(&authority.name) {
                authority.taint_published_in.get_or_insert(sequence);
            }
        }
    }

    fn activate(&mut self, name: AuthorityName, gate: Gate) -> Result<(), Refusal> {
        let authority = self.find(name)?;
        match authority.slot {
            Slot::Active => return Ok(()),
            Slot::Making => return Err(self.wrong_slot(name, "wait until key and certificate are made".to_owned())),
            Slot::Revoked => {
                return Err(self.wrong_slot(name, format!("prepare another one (`signet authority prepare {}`)", name.kind)));
            }
            Slot::Old if authority.tainted_at.is_some() => {
                return Err(
                    self.wrong_slot(name, "it is tainted, and what rests on it is being renewed: prepare another one".to_owned())
                );
            }
            Slot::Prepared | Slot::Old => {}
        }
        if authority.has_ended(self.now) {
            return Err(Refusal::Ended(name));
        }
        let signer = match name.kind {
            AuthorityKind::Root => Some(self.state.signer_under(name, self.now).ok_or(Refusal::NoIssuer(name))?.name),
            AuthorityKind::Issuer => {
                self.require_active_parent(name)?;
                None
            }
            AuthorityKind::Jwt => None,
        };
        // An old one is in every bundle that its successor is in.
        if authority.slot == Slot::Prepared
            && let Gate::Waits(waits) = gate
        {
            return Err(Refusal::Gate { name, waits });
        }
        self.retire_active(name.kind);
        self.change(name, Slot::Active, |_| ());
        if let Some(signer) = signer {
            self.retire_active(AuthorityKind::Issuer);
            self.change(signer, Slot::Active, |_| ());
        }
        self.drop_stranded();
        self.effects.push(Effect::Sign);
        Ok(())
    }

    fn taint(&mut self, name: AuthorityName) -> Result<(), Refusal> {
        let authority = self.find(name)?;
        match authority.slot {
            Slot::Old if authority.tainted_at.is_some() => return Ok(()),
            Slot::Revoked => return Ok(()),
            Slot::Old => {}
            Slot::Active => {
                let kind = name.kind;
                let way_out = format!(
                    "tainting what signs would renew everything under itself; `signet authority prepare {kind}` and activate that first, or \
                     `signet drill {kind}` for the whole sequence"
                );
                return Err(self.wrong_slot(name, way_out));
            }
            Slot::Making | Slot::Prepared => {
                return Err(self.wrong_slot(name, format!("nothing rests on it; `signet authority revoke {name}` drops it")));
            }
        }
        let now = self.now;
        let mut tainted = vec![name];
        tainted.extend(self.state.all_under(name).filter(|issuer| issuer.slot == Slot::Old).map(|issuer| issuer.name));
        for name in tainted {
            if let Some(authority) = self.anyones(name) {
                authority.tainted_at.get_or_insert(now);
            }
        }
        self.effects.push(Effect::Publish);
        Ok(())
    }

    fn revoke(&mut self, name: AuthorityName, gate: Gate) -> Result<(), Refusal> {
        let authority = self.find(name)?;
        match (authority.slot, gate) {
            (Slot::Revoked, _) => return Ok(()),
            (Slot::Active, _) => {
                let kind = name.kind;
                let way_out = format!(
                    "it signs; `signet authority prepare {kind}` and activate that first, or `signet drill {kind}` for the whole sequence"
                );
                return Err(self.wrong_slot(name, way_out));
            }
            (Slot::Old, Gate::Waits(waits)) => return Err(Refusal::Gate { name, waits }),
            // Nothing was given to others that rests on what never signed for them.
            (Slot::Making | Slot::Prepared, _) | (Slot::Old, Gate::Open) => {}
        }
        let was_in_bundle = authority.is_in_bundle();
        let was_told_tainted = authority.tainted_at.is_some();
        let mut gone = vec![name];
        // Of every replica: under a root that is in no bundle nothing is good.
        gone.extend(self.state.all_under(name).filter(|issuer| issuer.is_in_force()).map(|issuer| issuer.name));
        for name in &gone {
            self.change(*name, Slot::Revoked, |_| ());
        }
        if was_in_bundle || was_told_tainted {
            self.effects.push(Effect::Publish);
        }
        // Whose it is destroys the key of another.
        let own = gone.into_iter().filter(|name| self.state.get(*name).is_some());
        self.effects.extend(own.map(Effect::Destroy));
        Ok(())
    }

    fn taint_replica(&mut self, replica: &ReplicaName) {
        let now = self.now;
        let mut is_news = false;
        for (name, slot, is_tainted) in self.of_replica(replica) {
            match slot {
                Slot::Active => self.change(name, Slot::Old, |authority| authority.tainted_at = Some(now)),
                Slot::Old if !is_tainted => {
                    if let Some(authority) = self.anyones(name) {
                        authority.tainted_at = Some(now);
                    }
                }
                Slot::Making | Slot::Prepared => self.change(name, Slot::Revoked, |_| ()),
                Slot::Old | Slot::Revoked => continue,
            }
            is_news = true;
        }
        if is_news {
            self.effects.push(Effect::Publish);
        }
    }

    fn revoke_replica(&mut self, replica: &ReplicaName, gate: Gate) -> Result<(), Refusal> {
        let left: Vec<_> = self.of_replica(replica).into_iter().filter(|(_, slot, _)| *slot != Slot::Revoked).collect();
        let Some((first, ..)) = left.first().copied() else { return Ok(()) };
        if let Some((name, slot, _)) = left.iter().copied().find(|(_, slot, _)| *slot != Slot::Old) {
            let way_out = format!("it may sign; `signet replica remove {replica}` has what rests on it renewed first");
            return Err(Refusal::Slot { name, slot, way_out });
        }
        if let Gate::Waits(waits) = gate {
            return Err(Refusal::Gate { name: first, waits });
        }
        for (name, ..) in left {
            self.change(name, Slot::Revoked, |_| ());
        }
        self.effects.push(Effect::Publish);
        Ok(())
    }

    /// What a replica has, with its slot and whether it is tainted.
    fn of_replica(&self, replica: &ReplicaName) -> Vec<(AuthorityName, Slot, bool)> {
        let of_it = self.state.others.values().filter(|foreign| foreign.replica == *replica).map(|foreign| &foreign.authority);
        of_it.map(|authority| (authority.name, authority.slot, authority.tainted_at.is_some())).collect()
    }

    fn destroyed(&mut self, name: AuthorityName) -> Result<(), Refusal> {
        if self.find(name)?.slot != Slot::Revoked {
            return Err(self.wrong_slot(name, "its key is not to be destroyed".to_owned()));
        }
        if let Some(authority) = self.state.authorities.get_mut(&name) {
            authority.destroyed = true;
        }
        Ok(())
    }

    fn require_active_parent(&self, name: AuthorityName) -> Result<(), Refusal> {
        let parent = self.find(name)?.parent.ok_or(Refusal::Unknown(name))?;
        match self.find(parent)?.slot {
            Slot::Active => Ok(()),
            slot @ (Slot::Making | Slot::Prepared | Slot::Old | Slot::Revoked) => {
                Err(Refusal::ParentNotActive { name, parent, slot })
            }
        }
    }

    /// What was prepared under a root that signs no more would never be activated.
    fn drop_stranded(&mut self) {
        let stranded = |issuer: &&Authority| {
            let root = issuer.parent.and_then(|parent| self.state.get(parent));
            matches!(issuer.slot, Slot::Making | Slot::Prepared) && root.is_some_and(|root| root.slot == Slot::Old)
        };
        let stranded: Vec<_> = self.state.of(AuthorityKind::Issuer).filter(stranded).map(|issuer| issuer.name).collect();
        for name in stranded {
            self.change(name, Slot::Revoked, |_| ());
            self.effects.push(Effect::Destroy(name));
        }
    }

    fn retire_active(&mut self, kind: AuthorityKind) {
        if let Some(active) = self.state.active(kind).map(|active| active.name) {
            self.change(active, Slot::Old, |_| ());
        }
    }

    fn add(&mut self, kind: AuthorityKind, parent: Option<AuthorityName>) -> AuthorityName {
        let name = self.state.next_name(kind);
        let authority = self.begin(name, parent);
        self.state.authorities.insert(name, authority);
        name
    }

    fn begin(&self, name: AuthorityName, parent: Option<AuthorityName>) -> Authority {
        Authority {
            name,
            parent,
            slot: Slot::Making,
            since: self.now,
            material: None,
            published_in: None,
            tainted_at: None,
            taint_published_in: None,
            destroyed: false,
        }
    }

    fn change(&mut self, name: AuthorityName, slot: Slot, also: impl FnOnce(&mut Authority)) {
        let now = self.now;
        if let Some(authority) = self.anyones(name) {
            (authority.slot, authority.since) = (slot, now);
            also(authority);
        }
    }

    fn anyones(&mut self, name: AuthorityName) -> Option<&mut Authority> {
        let others = &mut self.state.others;
        self.state.authorities.get_mut(&name).or_else(|| others.get_mut(&name).map(|foreign| &mut foreign.authority))
    }

    fn find(&self, name: AuthorityName) -> Result<&Authority, Refusal> {
        self.state.get(name).ok_or(Refusal::Unknown(name))
    }

    fn wrong_slot(&self, name: AuthorityName, way_out: String) -> Refusal {
        match self.state.get(name) {
            Some(authority) => Refusal::Slot { name, slot: authority.slot, way_out },
            None => Refusal::Unknown(name),
        }
    }
}
