//! A trace of system calls, and the one question that it answers: did any answer leave before what it stands on was synced?

use std::time::Duration;

/// Bytes from which on something sent may be an answer with a certificate or a token in it; what HTTP/2 says by itself is shorter.
const ANSWER_BYTES: usize = 300;

/// What a client was given, and what must have been on disk before.
#[derive(Clone, Debug)]
pub struct Answer {
    /// For the report.
    pub what: String,
    /// Bytes that stand in the row of its intent and in no write before that.
    pub intent: Vec<u8>,
    /// When the client had it, since 1970.
    pub received: Duration,
}

/// A trace in the order in which strace saw it.
#[derive(Debug, Default)]
pub struct SyncTrace {
    calls: Vec<Call>,
}

#[derive(Debug)]
struct Call {
    kind: Kind,
    /// What the descriptor is: a path, or `TCP:[...]`.
    file: String,
    data: Vec<u8>,
    /// Lines of the trace at which it began and ended.
    began: usize,
    ended: usize,
    ended_at: Duration,
    result: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Write,
    Sync,
}

/// What a trace shows.
#[derive(Debug, Default)]
pub struct SyncFindings {
    /// What was wrong, a sentence each; empty when every answer waited for its sync.
    pub violations: Vec<String>,
    /// Syncs of the log that succeeded.
    pub syncs: usize,
}

impl SyncTrace {
    /// Reads what strace wrote with `-f -ttt -T -yy -xx`.
    ///
    /// # Panics
    /// On a line that is none of its.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut calls = Vec::new();
        // At most one call of a thread is under way: its beginning, until it is resumed.
        let mut open = std::collections::HashMap::new();
        for (number, line) in text.lines().enumerate() {
            let mut words = line.trim_start().splitn(3, ' ');
            let (Some(thread), Some(time), Some(rest)) = (words.next(), words.next(), words.next()) else { continue };
            let (time, rest) = if time.is_empty() {
                // Short thread numbers are followed by more than one space.
                let Some((time, rest)) = rest.trim_start().split_once(' ') else { continue };
                (time, rest)
            } else {
                (time, rest)
            };
            let at = Duration::from_secs_f64(time.parse().unwrap_or_else(|_| panic!("no time in the trace: {line}")));
            if let Some(begun) = rest.strip_suffix(" <unfinished ...>") {
                open.insert(thread.to_owned(), (number, begun.to_owned()));
            } else if rest.starts_with("<... ") {
                let Some((began, begun)) = open.remove(thread) else { continue };
                let end = rest.split_once("resumed>").map_or("", |(_, end)| end);
                calls.extend(Call::read(&format!("{begun}{end}"), began, number, at));
            } else {
                // Nothing happened between its beginning and its end; the time is that of its beginning.
                let took = rest.rsplit_once('<').and_then(|(_, took)| took.trim_end_matches('>').parse().ok()).unwrap_or(0.0);
                calls.extend(Call::read(rest, number, number, at + Duration::from_secs_f64(took)));
            }
        }
        Self { calls }
    }

    /// Bytes written to the log `log` before the first sync of it that succeeded; `None` without one.
    #[must_use]
    pub fn written_before_first_sync(&self, log: &str) -> Option<u64> {
        let mut calls: Vec<_> = self.calls.iter().filter(|call| call.file.ends_with(log)).collect();
        calls.sort_by_key(|call| call.began);
        let sync = calls.iter().position(|call| call.kind == Kind::Sync && call.result == 0)?;
        Some(
            calls[..sync].iter().filter(|call| call.kind == Kind::Write).filter_map(|call| u64::try_from(call.result).ok()).sum(),
        )
    }

    /// Whether each answer left only after a sync of the log `log` that began after its intent was written there.
    ///
    /// `one_by_one` says that each call was made after the answer to the one before: then nothing as long as an answer may have been
    /// sent between the intent and the end of the sync at all. With calls at once, only the client's clock tells whose answer is whose.
    #[must_use]
    pub fn check(&self, log: &str, answers: &[Answer], one_by_one: bool) -> SyncFindings {
        let of_log = |call: &&Call, kind| call.kind == kind && call.file.ends_with(log);
        let syncs = || self.calls.iter().filter(|call| of_log(call, Kind::Sync) && call.result == 0);
        let mut findings = SyncFindings { violations: Vec::new(), syncs: syncs().count() };
        for Answer { what, intent, received } in answers {
            let writes = self.calls.iter().filter(|call| of_log(call, Kind::Write));
            let Some(written) = writes.filter(|call| contains(&call.data, intent)).min_by_key(|call| call.began) else {
                findings.violations.push(format!("{what}: its intent was never written to the log"));
                continue;
            };
            let Some(sync) = syncs().filter(|sync| sync.began > written.ended).min_by_key(|sync| sync.ended) else {
                findings.violations.push(format!("{what}: the log was not synced after its intent was written"));
                continue;
            };
            if *received < sync.ended_at {
                let early = sync.ended_at - *received;
                findings.violations.push(format!("{what}: answered {early:?} before the sync of its intent was over"));
            }
            let sent = |call: &&Call| call.file.starts_with("TCP") && call.data.len() >= ANSWER_BYTES;
            let between = |call: &&Call| call.began > written.ended && call.began < sync.ended;
            if one_by_one && let Some(call) = self.calls.iter().filter(sent).find(between) {
                let (bytes, line) = (call.data.len(), call.began + 1);
                findings
                    .violations
                    .push(format!("{what}: {bytes} bytes were sent before the sync of its intent was over (line {line})"));
            }
        }
        findings
    }
}

impl Call {
    /// `name(descriptor<file>, ...) = result ...`
    fn read(text: &str, began: usize, ended: usize, ended_at: Duration) -> Option<Self> {
        let (name, rest) = text.split_once('(')?;
        let kind = match name {
            "fsync" | "fdatasync" => Kind::Sync,
            _ => Kind::Write,
        };
        let (_, rest) = rest.split_once('<')?;
        // A file ends before the next argument or the end of the arguments; sockets have brackets of their own in between.
        let end = rest.find(">, ").into_iter().chain(rest.find(">)")).min()?;
        let (file, rest) = rest.split_at(end);
        let result = rest.rsplit_once(") = ").map_or("-1", |(_, result)| result);
        let result = result.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(-1);
        let data = rest.split('"').skip(1).step_by(2).flat_map(unescape).collect();
        let file = if file.starts_with("\\x") { String::from_utf8_lossy(&unescape(file)).into_owned() } else { file.to_owned() };
        Some(Self { kind, file, data, began, ended, ended_at, result })
    }
}

/// The bytes of `\x01\x02`.
fn unescape(text: &str) -> Vec<u8> {
    text.split("\\x").filter_map(|hex| u8::from_str_radix(hex.get(..2)?, 16).ok()).collect()
}

fn contains(data: &[u8], part: &[u8]) -> bool {
    data.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: &str = r#"7 10.000000 pwrite64(9</s/store.db-wal>, "\x01\x02\x03", 3, 0) = 3 <0.000010>"#;
    const SYNC_BEGINS: &str = "7 10.100000 fdatasync(9</s/store.db-wal> <unfinished ...>";
    const SYNC_ENDS: &str = "7 10.200000 <... fdatasync resumed>) = 0 (DELAYED) <0.100000>";

    fn sent(at: &str) -> String {
        format!(
            r#"12 {at} sendto(12<TCP:[127.0.0.1:1->127.0.0.1:2]>, "{}", 400, 0, NULL, 0) = 400 <0.00001>"#,
            r"\x05".repeat(400)
        )
    }

    fn violations(lines: &[&str], received: f64, one_by_one: bool) -> Vec<String> {
        let answers = [Answer { what: "an answer".to_owned(), intent: vec![2, 3], received: Duration::from_secs_f64(received) }];
        SyncTrace::parse(&lines.join("\n")).check("store.db-wal", &answers, one_by_one).violations
    }

    #[test]
    fn an_answer_after_its_sync_is_in_order() {
        let lines = [WRITTEN, SYNC_BEGINS, SYNC_ENDS, &sent("10.3")];
        assert_eq!(violations(&lines, 10.4, true), [""; 0]);
    }

    #[test]
    fn each_way_to_answer_too_early_is_found() {
        let sent_early = [WRITTEN, SYNC_BEGINS, &sent("10.15"), SYNC_ENDS];
        assert!(violations(&sent_early, 10.4, true)[0].contains("400 bytes were sent before"));
        assert_eq!(violations(&sent_early, 10.4, false), [""; 0], "another caller's");
        assert!(violations(&[WRITTEN, SYNC_BEGINS, SYNC_ENDS], 10.15, false)[0].contains("answered 50ms before"));
        let never_synced = [WRITTEN, &sent("10.1")];
        assert!(violations(&never_synced, 10.4, true)[0].contains("not synced after"));
        let synced_before = ["7 9.1 fsync(9</s/store.db-wal>) = 0 <0.1>", WRITTEN, &sent("10.1")];
        assert!(violations(&synced_before, 10.4, true)[0].contains("not synced after"));
        let begun_before = [SYNC_BEGINS, &WRITTEN.replacen('7', "8", 1), SYNC_ENDS];
        assert!(violations(&begun_before, 10.4, true)[0].contains("not synced after"));
        let failed = [WRITTEN, "7 10.1 fsync(9</s/store.db-wal>) = -1 EIO (Input/output error) <0.1>"];
        assert!(violations(&failed, 10.4, true)[0].contains("not synced after"));
        let elsewhere = [WRITTEN, "7 10.1 fsync(9</s/store.db>) = 0 <0.1>"];
        assert!(violations(&elsewhere, 10.4, true)[0].contains("not synced after"));
        assert!(violations(&[SYNC_BEGINS, SYNC_ENDS], 10.4, true)[0].contains("never written"));
    }
}
