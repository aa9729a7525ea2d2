//! What the ledger holds, read back: a chain of events that was touched anywhere is at fault, one that was not is not, and the
//! grounds of a certificate are read as they were written.

use arbitrary::{Result, Unstructured};
use ca::audit::{AuditRecord, ChainHead, ChainWalk};
use ca::oidc::AdmissionSource;
use ca::records::RenewalGrounds;
use pki::{SerialNumber, Timestamp};

pub(crate) fn run(data: &[u8]) {
    if let Ok(serial) = SerialNumber::from_bytes(data) {
        assert_eq!(SerialNumber::from_bytes(serial.as_bytes()), Ok(serial));
    }
    if let Ok(text) = std::str::from_utf8(data) {
        grounds(text);
    }
    _ = replay(&mut Unstructured::new(data));
}

fn grounds(text: &str) {
    if let Ok(grounds) = RenewalGrounds::from_json(text)
        && let Ok(written) = grounds.to_json()
    {
        assert_eq!(RenewalGrounds::from_json(&written), Ok(grounds));
    }
    if let Ok(source) = AdmissionSource::from_json(text) {
        assert_eq!(AdmissionSource::from_json(&source.to_json()).ok(), Some(source));
    }
}

/// Writes a chain, touches it, and walks along what is left.
fn replay(plan: &mut Unstructured<'_>) -> Result<()> {
    let mut written: Vec<AuditRecord> = Vec::new();
    let mut head = ChainHead::EMPTY;
    for _ in 0..plan.arbitrary::<u8>()? % 16 {
        let (time, kind, body) = (plan.arbitrary::<u32>()?, text(plan)?, text(plan)?);
        let event = head.next(Timestamp::from_unix_seconds(time.into()), kind, body);
        head = event.head();
        written.push(event);
    }
    assert_eq!(walk(&written, head), None, "a whole chain is at fault");

    let (mut found, mut found_head) = (written.clone(), head);
    while !plan.is_empty() {
        touch(plan, &written, &mut found, &mut found_head)?;
    }
    let fault = walk(&found, found_head);
    let untouched = found == written && found_head == head;
    // A chain whose tail and head were cut together is whole as well: only a head that was kept elsewhere shows that.
    let set_back = found.len() <= written.len()
        && found.iter().zip(&written).all(|(one, other)| one == other)
        && found_head == found.last().map_or(ChainHead::EMPTY, AuditRecord::head);
    assert_eq!(fault.is_none(), untouched || set_back, "{fault:?}");
    Ok(())
}

fn walk(events: &[AuditRecord], head: ChainHead) -> Option<ca::audit::ChainFault> {
    let mut walk = ChainWalk::new(head);
    events.iter().find_map(|event| walk.step(event).err()).or_else(|| walk.finish().err())
}

fn touch(
    plan: &mut Unstructured<'_>,
    written: &[AuditRecord],
    events: &mut Vec<AuditRecord>,
    head: &mut ChainHead,
) -> Result<()> {
    let (what, which) = (plan.arbitrary::<u8>()?, plan.arbitrary::<u8>()?);
    let which = usize::from(which) % events.len().max(1);
    match what % 9 {
        0 => head.sequence = plan.arbitrary::<u8>()?.into(),
        // Set back, to one that the log once had: a head of events that were put in makes a new chain, which is whole.
        1 => *head = written.get(which).map_or(ChainHead::EMPTY, AuditRecord::head),
        2 => events.truncate(which),
        _ if events.is_empty() => {}
        3 => drop(events.remove(which)),
        4 => events.rotate_left(which),
        5 => events.extend(events.get(which).cloned()),
        6 => {
            let body = text(plan)?;
            events.iter_mut().skip(which).take(1).for_each(|event| body.clone_into(&mut event.body));
        }
        7 => {
            let sequence = plan.arbitrary::<u8>()?.into();
            events.iter_mut().skip(which).take(1).for_each(|event| event.sequence = sequence);
        }
        _ => {
            // Put in by somebody who knows how events are hashed, but leaves the head as it is.
            let before = which.checked_sub(1).and_then(|before| events.get(before)).map_or(ChainHead::EMPTY, AuditRecord::head);
            let forged = before.next(Timestamp::from_unix_seconds(0), text(plan)?, text(plan)?);
            events.insert(which, forged);
        }
    }
    Ok(())
}

/// A short text of any characters.
fn text(plan: &mut Unstructured<'_>) -> Result<String> {
    let length = plan.len().min(usize::from(plan.arbitrary::<u8>()? % 24));
    Ok(String::from_utf8_lossy(plan.bytes(length.min(plan.len()))?).into_owned())
}
