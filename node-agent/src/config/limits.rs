//! `[limits]`: what callers of the API socket may hold.

use runtime::config::Section;

use crate::workload::WorkloadLimits;

/// Reads the section; a key that is absent has its default.
pub(super) fn read(limits: &Section<'_>) -> WorkloadLimits {
    let most = WorkloadLimits::default();
    let number = |key, default, least, largest| {
        let given = limits.integer(key, least..=largest);
        given.and_then(|number| usize::try_from(number).ok()).unwrap_or(default)
    };
    let connections = number("connections", most.connections, 1, 1 << 20);
    let connections_per_uid = number("connections_per_uid", most.connections_per_uid.min(connections), 1, 1 << 20);
    if connections_per_uid > connections {
        limits.fault("connections_per_uid", "more than connections: one user could take them all away from the others");
    }
    WorkloadLimits {
        connections,
        connections_per_uid,
        streams_per_uid: number("streams_per_uid", most.streams_per_uid, 1, 1 << 20),
        // The largest request that is read must fit.
        request_bytes_per_uid: number("request_bytes_per_uid", most.request_bytes_per_uid, 1 << 20, 1 << 40),
    }
}

#[cfg(test)]
mod tests {
    use runtime::config::{ConfigErrors, Document};

    use super::*;

    fn parse(text: &str) -> Result<WorkloadLimits, ConfigErrors> {
        let document = Document::parse("f", &format!("[limits]\n{text}\n"))?;
        let root = document.root();
        let section = root.section("limits");
        let limits = read(&section);
        drop((section, root));
        document.finish()?;
        Ok(limits)
    }

    #[test]
    fn each_limit_has_a_default_and_can_be_set() {
        assert_eq!(parse("").unwrap(), WorkloadLimits::default());
        let set = "connections = 40\nconnections_per_uid = 30\nstreams_per_uid = 20\nrequest_bytes_per_uid = 1048576";
        let limits =
            WorkloadLimits { connections: 40, connections_per_uid: 30, streams_per_uid: 20, request_bytes_per_uid: 1 << 20 };
        assert_eq!(parse(set).unwrap(), limits);
        assert_eq!(parse("connections = 500").unwrap().connections_per_uid, 500, "no more than there are");
    }

    #[test]
    fn limits_that_do_not_bound_or_serve_nobody_are_refused() {
        let refused = [
            "connections = 0",
            "streams_per_uid = 0",
            "request_bytes_per_uid = 1048575",
            "connections = 10\nconnections_per_uid = 11",
            "streams = 5",
        ];
        for text in refused {
            let key = text.rsplit('\n').next().unwrap().split(' ').next().unwrap();
            assert!(parse(text).unwrap_err().to_string().contains(key), "{text}");
        }
    }
}
