//! Servers whose certificate was issued by an authority, alone or followed by those of its issuers.

use std::net::SocketAddr;
use std::path::Path;

use acquisition::{LinkState, OpcUaSecurity, SecurityMode, SecurityPolicy, ServerTrust};
use opcua::crypto::SecurityPolicy as Policy;
use opcua::types::MessageSecurityMode;
use plant_model::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::certificates::{Plant, issue};
use crate::security::{SERVER_URI, Site};
use crate::support::Told;

fn site(host: &str) -> (Site, Plant) {
    let mode = MessageSecurityMode::SignAndEncrypt;
    Site::with(Policy::Basic256Sha256, mode, true, |path| issue(path, SERVER_URI, host))
}

/// Trusts what lies in a folder, in which these certificates are put.
fn trusting(folder: &Path, certificates: &[&[u8]]) -> OpcUaSecurity {
    std::fs::create_dir_all(folder).expect("made");
    for (n, der) in certificates.iter().enumerate() {
        std::fs::write(folder.join(format!("{n}.der")), der).expect("written");
    }
    protected(ServerTrust::Folder(folder.to_owned()))
}

fn protected(trust: ServerTrust) -> OpcUaSecurity {
    let (policy, mode) = (SecurityPolicy::Basic256Sha256, SecurityMode::SignAndEncrypt);
    OpcUaSecurity::Protected { policy, mode, trust }
}

async fn reads(site: &Site, address: SocketAddr, security: OpcUaSecurity) {
    let mut driver = site.read_over(address, security, None);
    let told = driver.until("a value", |told| told.has(0, &Value::Float(1.5))).await;
    assert_eq!(told.links, [LinkState::Up]);
    driver.stop().await;
}

async fn refusal(site: &Site, address: SocketAddr, security: OpcUaSecurity) -> String {
    let mut driver = site.read_over(address, security, None);
    let told = driver.until("the refusal", Told::is_down).await;
    let Some(LinkState::Down { reason }) = told.links.first() else { panic!("{:?}", told.links) };
    let reason = reason.clone();
    driver.stop().await;
    reason
}

/// A line to a server that puts the certificate of its issuer behind its own, as many servers send it:
/// in the list of endpoints, and if `in_channel` also where a channel is opened.
async fn chaining(server: SocketAddr, plant: &Plant, in_channel: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (alone, chain) = (field(&plant.server), field(&[plant.server.as_slice(), &plant.line].concat()));
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let Ok(far) = TcpStream::connect(server).await else { continue };
            let ((mut near_in, near_out), (far_in, mut far_out)) = (near.into_split(), far.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut near_in, &mut far_out).await });
            tokio::spawn(chain_frames(far_in, near_out, alone.clone(), chain.clone(), in_channel));
        }
    });
    address
}

/// A `ByteString` as it is encoded: its length and its bytes.
fn field(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).expect("short").to_le_bytes(), bytes].concat()
}

/// Passes messages on, with `alone` replaced by `chain`; the size of a message is its second word.
async fn chain_frames(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    alone: Vec<u8>,
    chain: Vec<u8>,
    in_channel: bool,
) {
    let mut header = [0; 8];
    while from.read_exact(&mut header).await.is_ok() {
        let size = u32::from_le_bytes(header[4..].try_into().expect("four bytes"));
        let mut body = vec![0; usize::try_from(size).expect("fits") - header.len()];
        if from.read_exact(&mut body).await.is_err() {
            return;
        }
        if in_channel || &header[..3] == b"MSG" {
            body = replace(&body, &alone, &chain);
        }
        let size = u32::try_from(header.len() + body.len()).expect("short");
        header[4..].copy_from_slice(&size.to_le_bytes());
        if to.write_all(&[&header[..], &body].concat()).await.is_err() {
            return;
        }
    }
}

fn replace(body: &[u8], what: &[u8], with: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = body;
    while let Some(at) = rest.windows(what.len()).position(|window| window == what) {
        out.extend([&rest[..at], with].concat());
        rest = &rest[at + what.len()..];
    }
    out.extend(rest);
    out
}

#[tokio::test]
async fn c9_a_server_is_trusted_for_the_authority_that_issued_its_certificate() {
    let (site, plant) = site("127.0.0.1");
    let address = site.server.address;
    reads(&site, address, trusting(&site.file("line"), &[&plant.line])).await;
    let reason = refusal(&site, address, trusting(&site.file("root"), &[&plant.root])).await;
    assert!(
        reason.contains("not trusted") && reason.contains("lathe-1.der into"),
        "a link is missing: {reason}"
    );
    let pin = site.file("authority.der");
    std::fs::write(&pin, &plant.line).expect("written");
    let reason = refusal(&site, address, protected(ServerTrust::Certificate(pin))).await;
    assert!(reason.contains("not trusted"), "a pinned file means that certificate alone: {reason}");
}

#[tokio::test]
async fn c9_an_authority_vouches_for_a_machine_only_at_the_address_in_its_certificate() {
    let (site, plant) = site("lathe-9");
    let folder = site.file("trusted");
    let security = trusting(&folder, &[&plant.line]);
    let reason = refusal(&site, site.server.address, security.clone()).await;
    assert!(reason.contains("lathe-9") && reason.contains("127.0.0.1"), "{reason}");
    let offered = site.file("state/offered/lathe-1.der");
    assert!(reason.contains(&format!("copy {} into {}", offered.display(), folder.display())), "{reason}");
    std::fs::copy(&offered, folder.join("lathe.der")).expect("what the server showed");
    reads(&site, site.server.address, security).await;
}

#[tokio::test]
async fn c9_a_server_that_lists_its_chain_is_trusted_for_the_root() {
    let (site, plant) = site("127.0.0.1");
    let address = chaining(site.server.address, &plant, false).await;
    reads(&site, address, trusting(&site.file("trusted"), &[&plant.root])).await;
    let pin = protected(ServerTrust::Certificate(site.file("server.der")));
    reads(&site, address, pin).await;

    let shown = driver_opcua::endpoints(&format!("opc.tcp://{address}")).await.expect("answered");
    let shown = shown[0].certificate.clone().expect("shown");
    assert_eq!((shown.der, shown.issuers), (plant.server, 1));
    assert!(shown.problems.is_empty() && shown.hints.len() == 1, "{:?} {:?}", shown.problems, shown.hints);
}

#[tokio::test]
async fn c9_a_server_that_opens_channels_with_its_chain_is_told_to_send_its_certificate_alone() {
    let (site, plant) = site("127.0.0.1");
    let address = chaining(site.server.address, &plant, true).await;
    let reason = refusal(&site, address, trusting(&site.file("trusted"), &[&plant.root])).await;
    assert!(reason.contains("send its own certificate alone") && reason.contains("pin that"), "{reason}");
}
