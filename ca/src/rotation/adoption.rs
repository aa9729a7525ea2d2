//! What a start finds: authorities on disk that the journal does not know are taken over, and those that sign are loaded.

use pki::Timestamp;

use super::CommandError;
use super::forgotten::taint_former;
use super::journal::Journal;
use super::materials::{MaterialError, Materials, certificate_of, jwt_material_of, material_of};
use crate::authority::SigningAuthority;
use crate::authority::lifecycle::gate::Gate;
use crate::authority::lifecycle::{Adopted, AuthorityKind, AuthorityName, Effect, Event};
use crate::keystore::KeystoreError;
use crate::signing_keys::JwtSigningKey;
use crate::store::{Actor, Store, StoreError};

/// How often a replica that starts asks for its issuing CA, each time for some seconds.
const TRIES: u32 = 15;

/// Why a CA has nothing to sign with.
#[derive(Debug, thiserror::Error)]
pub enum AdoptionError {
    /// Files or the journal.
    #[error(transparent)]
    Material(#[from] MaterialError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The lifecycle refuses what lies there.
    #[error("{0}")]
    Refused(String),
    /// The generation is under a root that does not sign.
    #[error(
        "{}: stands under another root than {root}, which signs; a root is replaced by `signet drill root` alone", place.display()
    )]
    OtherRoot {
        /// The generation.
        place: std::path::PathBuf,
        /// The root that signs.
        root: AuthorityName,
    },
}

impl From<CommandError> for AdoptionError {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Store(error) | CommandError::Overtaken(error) => Self::Store(error),
            other @ (CommandError::Refused(_)
            | CommandError::NoWayBack(_)
            | CommandError::NoRotation(_)
            | CommandError::AnotherLeads { .. }
            | CommandError::NobodyLeads
            | CommandError::ReplicaLives(_)
            | CommandError::NoReplica(_)
            | CommandError::Failed(_)
            | CommandError::Closing) => Self::Refused(other.to_string()),
        }
    }
}

/// The issuing CA that signs: as the journal says, or the newest generation on disk where the journal has none.
///
/// A newer generation that was made elsewhere is taken over first; one that cannot be is told in the log, and what signs goes on.
///
/// # Errors
/// [`AdoptionError`].
pub(crate) async fn open_issuer(
    journal: &mut Journal,
    materials: &Materials,
    now: Timestamp,
) -> Result<SigningAuthority, AdoptionError> {
    match adopt_generation(journal, materials, now).await {
        Ok(_) => {}
        Err(error) if journal.state().active(AuthorityKind::Issuer).is_none() => return Err(error),
        Err(error) => tracing::error!(%error, "a newer authority is not used; the one in use goes on"),
    }
    taint_former(journal, materials, AuthorityKind::Issuer, now).await?;
    let Some(issuer) = journal.state().active(AuthorityKind::Issuer) else {
        let directory = materials.generations().to_owned();
        return Err(MaterialError::from(KeystoreError::NoAuthority { directory }).into());
    };
    let authority = materials.issuer(issuer.name, now).await?;
    let is_known = issuer.material.as_ref().is_some_and(|known| known.key == authority.certificate().public_key().fingerprint());
    if is_known {
        Ok(authority)
    } else {
        Err(MaterialError::Another { name: issuer.name, path: materials.place_of(issuer.name) }.into())
    }
}

/// The first issuing CA of a replica that comes to others, or whose own was taken out while it was away: signed by whoever has the key of the
/// root that signs, and then taken over as any generation on disk.
///
/// # Errors
/// [`AdoptionError`], when nobody signed it within a minute.
pub(crate) async fn join_others(
    journal: &mut Journal,
    materials: &Materials,
    store: &dyn Store,
    now: Timestamp,
) -> Result<(), AdoptionError> {
    let mut tries = 0;
    loop {
        let state = journal.state();
        let has_own = state.active(AuthorityKind::Issuer).is_some();
        let Some(root) = state.active(AuthorityKind::Root).filter(|_| store.is_shared() && !has_own).cloned() else {
            return Ok(());
        };
        let name = state.next_name(AuthorityKind::Issuer);
        tracing::info!(%name, root = %root.name, "this replica has no issuing CA: one is asked for");
        match materials.make_issuer(name, &root, now).await {
            Err(error @ MaterialError::AwaitsReplica { .. }) => {
                tracing::warn!(%error, "waiting");
                tries += 1;
                if tries == TRIES {
                    return Err(error.into());
                }
                // Meanwhile another root may sign, and another replica may have taken the number.
                journal.reload().await?;
            }
            made => {
                made?;
                return Ok(());
            }
        }
    }
}

/// Takes over the newest generation on disk, if it is newer than all that the journal knows; says what is to be done about it.
///
/// # Errors
/// [`AdoptionError`]; nothing is changed then.
pub(crate) async fn adopt_generation(
    journal: &mut Journal,
    materials: &Materials,
    now: Timestamp,
) -> Result<Vec<Effect>, AdoptionError> {
    // Of all replicas: a number that another one used is no news here.
    let known = journal.state().next_name(AuthorityKind::Issuer).number.saturating_sub(1);
    let Some(number) = materials.generation_above(known)? else { return Ok(Vec::new()) };
    let name = AuthorityName { kind: AuthorityKind::Issuer, number };
    let issuer = materials.issuer(name, now).await?;
    let root = material_of(issuer.root());
    let mut effects = Vec::new();
    match journal.state().active(AuthorityKind::Root) {
        Some(active) if certificate_of(active)? == *issuer.root() => {}
        Some(active) => {
            return Err(AdoptionError::OtherRoot { place: materials.place_of(name), root: active.name });
        }
        None => {
            if issuer.roots().len() > 1 {
                tracing::warn!("the roots beside that of the issuing CA are not taken over: trust in them ends here");
            }
            let root = Adopted { name: AuthorityName { kind: AuthorityKind::Root, number: 1 }, material: root };
            effects.extend(journal.happen(Event::Adopt(root), Actor::System, now).await?);
        }
    }
    let subject = issuer.certificate().subject();
    tracing::info!(%name, issuer = subject, not_after = %issuer.certificate().not_after(), "taking up a newer authority");
    let adopted = Adopted { name, material: material_of(issuer.certificate()) };
    effects.extend(journal.happen(Event::Adopt(adopted), Actor::System, now).await?);
    Ok(effects)
}

/// The JWT key that signs. Where none is known one is taken over or made; where its file was taken away, tokens under it shall not be
/// accepted any more, and another one is made. One that was in memory gives way to another one, and what it signed stays good.
///
/// # Errors
/// [`AdoptionError`].
pub(crate) async fn open_jwt(
    journal: &mut Journal,
    materials: &Materials,
    now: Timestamp,
) -> Result<JwtSigningKey, AdoptionError> {
    let active = journal.state().active(AuthorityKind::Jwt).cloned();
    let is_forgotten = active.as_ref().map(|active| materials.is_forgotten(active.name)).transpose()?.unwrap_or(false);
    if let Some(active) = &active
        && !is_forgotten
        && let Some(key) = materials.jwt_key(active.name).await?
    {
        let known = active.material.as_ref().map(|known| known.key);
        return if known == Some(key.authority().public_key().fingerprint()) {
            Ok(key)
        } else {
            Err(MaterialError::Another { name: active.name, path: materials.place_of(active.name) }.into())
        };
    }
    let name = journal.state().next_name(AuthorityKind::Jwt);
    materials.make_jwt(name, now).await?;
    let missing = || MaterialError::Another { name, path: materials.place_of(name) };
    let key = materials.jwt_key(name).await?.ok_or_else(missing)?;
    let adopted = Adopted { name, material: jwt_material_of(&key, now) };
    journal.happen(Event::Adopt(adopted), Actor::System, now).await?;
    if is_forgotten {
        taint_former(journal, materials, AuthorityKind::Jwt, now).await?;
    } else if let Some(former) = active {
        tracing::warn!(former = %former.name, %name, "the file of the JWT key was taken away: another key signs, and tokens under it are refused");
        journal.happen(Event::Revoke { name: former.name, gate: Gate::Open }, Actor::System, now).await?;
    }
    Ok(key)
}
