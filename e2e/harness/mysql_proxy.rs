//! A proxy that breaks SQL at a chosen statement.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::fault::{Fault, Faults, Kind};

const COM_QUERY: u8 = 3;
const COM_STMT_PREPARE: u8 = 22;

pub struct MysqlProxy {
    pub port: u16,
    pub faults: Faults,
    task: JoinHandle<()>,
}

impl MysqlProxy {
    /// Before a server on loopback.
    pub async fn before(server: u16) -> anyhow::Result<MysqlProxy> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let faults = Faults::default();
        let rules = faults.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let rules = rules.clone();
                // A broken connection is the point here, not an error to tell.
                tokio::spawn(async move { drop(serve(client, server, rules).await) });
            }
        });
        Ok(MysqlProxy { port, faults, task })
    }
}

impl Drop for MysqlProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the way back does with the server's bytes, and how many it has had.
struct Back {
    swallow: watch::Sender<bool>,
    received: watch::Sender<usize>,
}

async fn serve(client: TcpStream, server: u16, faults: Faults) -> std::io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", server)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let back = Arc::new(Back { swallow: watch::channel(false).0, received: watch::channel(0).0 });
    tokio::select! {
        forward = forward(from_client, to_server, &back, &faults) => forward,
        way_back = way_back(from_server, to_client, &back) => way_back,
    }
}

async fn way_back(mut server: OwnedReadHalf, mut client: OwnedWriteHalf, back: &Back) -> std::io::Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let length = server.read(&mut bytes).await?;
        if length == 0 {
            return Ok(());
        }
        if !*back.swallow.borrow() {
            client.write_all(&bytes[..length]).await?;
        }
        back.received.send_modify(|received| *received += length);
    }
}

async fn forward(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    back: &Back,
    faults: &Faults,
) -> std::io::Result<()> {
    loop {
        let packet = packet(&mut client).await?;
        // A command starts a new sequence; packets of the handshake continue one.
        let command = (packet[3] == 0).then(|| packet.get(4).copied()).flatten();
        let (Some(COM_QUERY | COM_STMT_PREPARE), text) = (command, packet.get(5..).unwrap_or_default()) else {
            server.write_all(&packet).await?;
            continue;
        };
        let verdict = faults.judge(Kind::Query, String::from_utf8_lossy(text).into_owned());
        let before = *back.received.borrow();
        match &verdict.fault {
            Some(Fault::Drop) => {
                verdict.strike();
                return Ok(());
            }
            Some(Fault::Stall(time)) => {
                verdict.strike();
                tokio::time::sleep(*time).await;
            }
            Some(Fault::Swallow) => drop(back.swallow.send_replace(true)),
            _ => {}
        }
        server.write_all(&packet).await?;
        if let Some(Fault::Cut(time)) = verdict.fault {
            tokio::time::sleep(time).await;
            verdict.strike();
            return Ok(());
        }
        if matches!(verdict.fault, Some(Fault::Swallow | Fault::After)) {
            let _ = back.received.subscribe().wait_for(|received| *received > before).await;
            verdict.strike();
        }
        if verdict.fault == Some(Fault::Swallow) {
            return Ok(());
        }
    }
}

/// One packet with its header of three length bytes and the sequence number.
async fn packet(client: &mut OwnedReadHalf) -> std::io::Result<Vec<u8>> {
    let mut packet = vec![0; 4];
    client.read_exact(&mut packet).await?;
    let length = u32::from_le_bytes([packet[0], packet[1], packet[2], 0]) as usize;
    packet.resize(4 + length, 0);
    client.read_exact(&mut packet[4..]).await?;
    Ok(packet)
}
