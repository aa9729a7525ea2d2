//! The way to the admin services of the CA and the agent: one gRPC channel over a Unix socket.

use std::future::{Ready, ready};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use proto::v1::admin_client::AdminClient;
use proto::v1::agent_admin_client::AgentAdminClient;
use proto::v1::authority_admin_client::AuthorityAdminClient;
use proto::v1::backup_client::BackupClient;
use proto::v1::federation_admin_client::FederationAdminClient;
use proto::v1::kubernetes_admin_client::KubernetesAdminClient;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::failure::Failure;

/// How long a service may take to answer. Long enough for a hash-chain walk, short enough for a person.
pub(crate) const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// A client of the CA's admin service.
///
/// # Errors
/// [`Failure`] of the unreachable kind, with what to do.
pub(crate) async fn ca_admin(socket: &Path) -> Result<AdminClient<Channel>, Failure> {
    Ok(AdminClient::new(ca_channel(socket).await?))
}

/// A client of the CA's authority service, which is at the same socket.
///
/// # Errors
/// [`Failure`] of the unreachable kind, with what to do.
pub(crate) async fn authority_admin(socket: &Path) -> Result<AuthorityAdminClient<Channel>, Failure> {
    Ok(AuthorityAdminClient::new(ca_channel(socket).await?))
}

/// A client of the CA's service for relationships with other trust domains, which is at the same socket.
///
/// # Errors
/// [`Failure`] of the unreachable kind, with what to do.
pub(crate) async fn federation_admin(socket: &Path) -> Result<FederationAdminClient<Channel>, Failure> {
    Ok(FederationAdminClient::new(ca_channel(socket).await?))
}

/// A client of the CA's service for Secrets of Kubernetes service accounts, which is at the same socket.
///
/// # Errors
/// [`Failure`] of the unreachable kind, with what to do.
pub(crate) async fn kubernetes_admin(socket: &Path) -> Result<KubernetesAdminClient<Channel>, Failure> {
    Ok(KubernetesAdminClient::new(ca_channel(socket).await?))
}

/// A client of the CA's backup service, which is at the same socket.
///
/// # Errors
/// [`Failure`] of the unreachable kind, with what to do.
pub(crate) async fn ca_backup(socket: &Path) -> Result<BackupClient<Channel>, Failure> {
    Ok(BackupClient::new(ca_channel(socket).await?))
}

async fn ca_channel(socket: &Path) -> Result<Channel, Failure> {
    connect(socket).await.map_err(|error| unreachable(socket, &error, "CA", "signet ca run --config FILE"))
}

/// A client of the agent's admin service.
///
/// # Errors
/// [`Failure`] of the unreachable kind, with what to do.
pub(crate) async fn agent_admin(socket: &Path) -> Result<AgentAdminClient<Channel>, Failure> {
    let channel =
        connect(socket).await.map_err(|error| unreachable(socket, &error, "agent", "signet agent run --config FILE"))?;
    Ok(AgentAdminClient::new(channel))
}

/// A request that gives up in time.
pub(crate) fn request<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(ANSWER_DEADLINE);
    request
}

/// A channel over one connection to a Unix socket. When that connection ends, so does the channel.
///
/// # Errors
/// The error of the connect call.
pub(crate) async fn connect(socket: &Path) -> io::Result<Channel> {
    let stream = UnixStream::connect(socket).await?;
    Endpoint::from_static("http://signet.invalid")
        .connect_with_connector(OneStream(Some(stream)))
        .await
        .map_err(|error| io::Error::other(format!("no HTTP/2 on the socket: {error}")))
}

fn unreachable(socket: &Path, error: &io::Error, service: &str, start: &str) -> Failure {
    let (path, socket) = (socket, socket.display());
    let failure = Failure::unreachable(format!("cannot reach the {service} at {socket}"));
    let kind = error.kind();
    if kind == io::ErrorKind::NotFound {
        return failure
            .because("there is no such socket")
            .advise(format!("start the {service} with `{start}`, or name its admin socket with `--socket PATH`"));
    }
    if kind == io::ErrorKind::PermissionDenied {
        return failure
            .because("this user may not open the socket: the admin socket is for the service's own user and root")
            .advise(format!("run this command as the user that runs the {service}, or as root"));
    }
    if kind == io::ErrorKind::ConnectionRefused && !is_socket(path) {
        return failure.because("this file is no socket").advise("name the admin socket with `--socket PATH`");
    }
    if kind == io::ErrorKind::ConnectionRefused {
        return failure
            .because("the socket is there but nobody listens: the service that made it is gone")
            .advise(format!("start the {service} with `{start}`"));
    }
    failure.because(error).advise("name the admin socket with `--socket PATH`")
}

fn is_socket(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// Hands out one connected stream, once: a second connection would be to a service that may not be the same any more.
struct OneStream(Option<UnixStream>);

impl tower_service::Service<Uri> for OneStream {
    type Response = TokioIo<UnixStream>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.0.take().map(TokioIo::new).ok_or_else(|| io::ErrorKind::ConnectionReset.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::FailureKind;

    #[tokio::test]
    async fn an_absent_and_a_dead_socket_are_told_apart_and_both_are_unreachable() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let absent = ca_admin(&path).await.unwrap_err();
        assert_eq!(absent.kind(), FailureKind::Unreachable);
        assert!(absent.one_line().contains("no such socket"), "{}", absent.one_line());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let dead = agent_admin(&path).await.unwrap_err();
        assert_eq!(dead.kind(), FailureKind::Unreachable);
        assert!(dead.one_line().contains("nobody listens"), "{}", dead.one_line());
        let file = dir.path().join("ca.toml");
        std::fs::write(&file, "").unwrap();
        let wrong = ca_admin(&file).await.unwrap_err();
        assert!(wrong.one_line().contains("no socket"), "{}", wrong.one_line());
    }
}
