//! The header that each request must carry (SPIFFE Workload Endpoint section 4): a browser or a proxy that was tricked into
//! passing a request on does not send it.

use tonic::Status;
use tonic::metadata::MetadataMap;

const NAME: &str = "workload.spiffe.io";

/// Looks for `workload.spiffe.io: true`.
///
/// # Errors
/// INVALID_ARGUMENT, which tells clients not to try again, when it is missing or says anything else.
pub(super) fn check(metadata: &MetadataMap) -> Result<(), Status> {
    let mut values = metadata.get_all(NAME).iter().peekable();
    if values.peek().is_some() && values.all(|value| value.as_bytes() == b"true") {
        return Ok(());
    }
    Err(Status::invalid_argument(
        "the request lacks the metadata \"workload.spiffe.io: true\" that each call of the Workload API carries; a client \
         library for SPIFFE sends it by itself",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_passes_and_its_absence_and_anything_else_do_not() {
        let of = |values: &[&'static str]| {
            let mut metadata = MetadataMap::new();
            for value in values {
                metadata.append(NAME, value.parse().unwrap());
            }
            check(&metadata).map_err(|status| status.code())
        };
        assert_eq!(of(&["true"]), Ok(()));
        for values in [&[][..], &["false"], &[""], &["True"], &["1"], &["true,false"], &["true", "false"]] {
            assert_eq!(of(values), Err(tonic::Code::InvalidArgument), "{values:?}");
        }
    }
}
