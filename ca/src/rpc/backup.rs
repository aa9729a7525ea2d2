//! The Backup service, over the same Unix socket as Admin and for the same callers: the pieces of a backup file.

use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt};
use pki::Passphrase;
use proto::v1;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};
use zeroize::Zeroizing;

use crate::backup::{BackupError, Backups};
use crate::rpc::admin::operator;
use crate::rpc::status::ERROR_DOMAIN;

/// The service.
pub(crate) struct BackupService(pub(crate) Arc<Backups>);

#[tonic::async_trait]
impl v1::backup_server::Backup for BackupService {
    type MakeBackupStream = BoxStream<'static, Result<v1::BackupPiece, Status>>;

    async fn make_backup(&self, request: Request<v1::MakeBackupRequest>) -> Result<Response<Self::MakeBackupStream>, Status> {
        let actor = operator(request.extensions())?;
        let v1::MakeBackupRequest { passphrase } = request.into_inner();
        let passphrase = Passphrase::new(Zeroizing::new(passphrase));
        let passphrase = passphrase
            .map_err(|error| refused(Code::InvalidArgument, "PASSPHRASE_INVALID", format!("a backup needs one: {error}")))?;
        let Some((pieces, work)) = self.0.begin(passphrase, actor) else {
            let message = "another backup is being made; try again when it is over".to_owned();
            return Err(refused(Code::Aborted, "BACKUP_UNDER_WAY", message));
        };
        let pieces = ReceiverStream::new(pieces).map(|piece| match piece {
            Ok(content) => Ok(v1::BackupPiece { content }),
            Err(error) => Err(status_of(&error)),
        });
        // It is polled with the stream: whoever goes away ends the backup.
        let work = stream::once(work).filter_map(async |()| None);
        Ok(Response::new(stream::select(pieces, work).boxed()))
    }
}

fn status_of(error: &BackupError) -> Status {
    let (code, reason) = match error {
        BackupError::NoRoom { .. } => (Code::ResourceExhausted, "NO_ROOM"),
        BackupError::StoreElsewhere { .. } => (Code::FailedPrecondition, "STORE_ELSEWHERE"),
        BackupError::Disagree(_) => (Code::Aborted, "AUTHORITIES_CHANGED"),
        BackupError::Store(_) | BackupError::Open(_) | BackupError::Snapshot(_) => (Code::Unavailable, "STORE_UNAVAILABLE"),
        BackupError::Token(_) | BackupError::Key(_) | BackupError::Keystore(_) | BackupError::Passphrase(_) => {
            (Code::Unavailable, "KEYS_UNAVAILABLE")
        }
        BackupError::File(_)
        | BackupError::Seal(_)
        | BackupError::Read(_)
        | BackupError::Gone
        | BackupError::Ended(_)
        | BackupError::ReadBack(_) => (Code::Internal, "BACKUP_FAILED"),
    };
    refused(code, reason, error.to_string())
}

fn refused(code: Code, reason: &str, message: String) -> Status {
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, ERROR_DOMAIN, []))
}
