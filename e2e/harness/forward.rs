//! Lets Pods of a kubelet node reach a server that listens on loopback only.

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::kubelet;

/// A port on the node's address behind which a server of this machine answers, for as long as this lives.
pub struct Forward {
    pub port: u16,
    task: JoinHandle<()>,
}

impl Forward {
    pub async fn to(server: u16) -> anyhow::Result<Forward> {
        let listener = TcpListener::bind((kubelet::ADDRESS, 0)).await?;
        let port = listener.local_addr()?.port();
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    // An end that goes away ends the other one: nobody is there to be told.
                    if let Ok(mut server) = TcpStream::connect(("127.0.0.1", server)).await {
                        drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
                    }
                });
            }
        });
        Ok(Forward { port, task })
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}
