//! Behind the protocol of S3: a server of files in this process, which can be told to fail.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use archive_parquet::ParquetArchive;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::{Service, service_fn};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use plant_model::Value;
use protocol::{Detail, Epoch, Sequence};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use segments::{Source, Sourced};
use tempfile::TempDir;
use tiering::{Archive, ArchiveError};
use tokio::net::TcpListener;

use crate::support::{DAY, Memory, at, bits, machine, of_day, query, row, tenant, write};

const SECRET: &str = "hushhushhush";

/// What becomes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// 503 instead.
    Busy,
    /// The connection ends in the middle.
    Cut,
    /// It says that it is complete, with half of the bytes.
    Short,
}

#[derive(Default)]
struct Plan {
    fault: Mutex<Option<(Method, Fault, usize)>>,
    gets: AtomicUsize,
    puts: AtomicUsize,
}

impl Plan {
    /// The next answers to a method fail so.
    fn fail(&self, method: Method, fault: Fault, times: usize) {
        *self.fault.lock().expect("sound") = Some((method, fault, times));
    }

    fn next(&self, method: &Method) -> Option<Fault> {
        let counter = if method == Method::GET { &self.gets } else { &self.puts };
        counter.fetch_add(1, Ordering::Relaxed);
        let mut plan = self.fault.lock().expect("sound");
        let (of, fault, left) = plan.as_mut().filter(|(of, _, left)| of == method && *left > 0)?;
        let (_, fault) = (of, *fault);
        *left -= 1;
        Some(fault)
    }

    fn left(&self) -> usize {
        self.fault.lock().expect("sound").as_ref().map_or(0, |(_, _, left)| *left)
    }
}

type Answer = Response<BoxBody<Bytes, std::io::Error>>;

fn whole(bytes: Bytes) -> BoxBody<Bytes, std::io::Error> {
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed()
}

async fn answer(
    service: S3Service,
    plan: Arc<Plan>,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    let fault = plan.next(request.method());
    if fault == Some(Fault::Busy) {
        let mut busy = Response::new(whole(Bytes::new()));
        *busy.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        return Ok(busy);
    }
    let called = Service::call(&service, request);
    let (mut head, body) = called.await.expect("an answer").into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let half = body.slice(..body.len() / 2);
    let body = match fault {
        Some(Fault::Cut) => {
            let broken = || std::io::Error::other("cut");
            let frames = [Ok(Frame::data(half)), Err(broken())];
            StreamBody::new(futures_util::stream::iter(frames)).boxed()
        }
        Some(Fault::Short) => {
            head.headers.insert(header::CONTENT_LENGTH, half.len().into());
            whole(half)
        }
        Some(Fault::Busy) | None => whole(body),
    };
    Ok(Response::from_parts(head, body))
}

/// A server with one bucket; it ends with its runtime.
async fn server() -> (TempDir, SocketAddr, Arc<Plan>) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("plant")).expect("a bucket");
    let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder.path()).expect("files"));
    builder.set_auth(SimpleAuth::from_single("id", SECRET));
    let (service, plan) = (builder.build(), Arc::new(Plan::default()));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let shared = Arc::clone(&plan);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (service, plan) = (service.clone(), Arc::clone(&shared));
            let each = service_fn(move |request| answer(service.clone(), Arc::clone(&plan), request));
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), each);
            tokio::spawn(connection);
        }
    });
    (folder, address, plan)
}

fn archive(address: SocketAddr, secret: &str) -> ParquetArchive {
    let uri = format!("s3://plant/archive?endpoint=http://{address}&region=us-east-1&allow_http=true");
    let environment = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", secret)];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    ParquetArchive::open(&uri, environment).expect("opens")
}

#[tokio::test]
async fn st10_an_object_of_a_day_is_one_put_and_a_tag_of_it_at_most_four_gets() {
    let (_folder, address, plan) = server().await;
    let archive = archive(address, SECRET);
    let memory = [Memory::of_chance(0, 1, 12, 4_000), Memory::of_chance(1, 2, 12, 4_000)];
    let written = write(&archive, &memory).await.expect("writes");
    assert_eq!(plan.puts.load(Ordering::Relaxed), 1);
    assert_eq!(archive.verify(&tenant(), &row(&written)).await.expect("verifies").object, written);
    let before = plan.gets.load(Ordering::Relaxed);
    let read = archive.read(&tenant(), &row(&written), query(1, &[7], at(0)..at(DAY))).await.expect("reads");
    assert_eq!(bits(&read.tags[0].1), bits(&of_day(&memory[1], 7)));
    let gets = plan.gets.load(Ordering::Relaxed) - before;
    assert!((1..=4).contains(&gets), "{gets}");
    assert_eq!(read.cost.requests, gets as u64);

    let again = write(&archive, &memory[..1]).await;
    assert!(matches!(again, Err(ArchiveError::Exists { .. })), "{again:?}");
    let listed = archive.list(&tenant()).await.expect("lists");
    assert_eq!(
        listed.iter().map(|o| (o.path.as_str(), o.bytes)).collect::<Vec<_>>(),
        [(crate::support::PATH, written.bytes)]
    );
    archive.delete(&tenant(), crate::support::PATH).await.expect("deletes");
    assert_eq!(archive.list(&tenant()).await.expect("lists"), []);
    let gone = archive.read(&tenant(), &row(&written), query(1, &[7], at(0)..at(DAY))).await;
    assert!(matches!(gone, Err(ArchiveError::Missing { .. })), "{gone:?}");
}

/// A machine whose object is longer than a part.
fn large() -> Memory {
    let mut rng = StdRng::seed_from_u64(8);
    let text = |rng: &mut StdRng| -> String {
        (0..1_000).map(|_| char::from(rng.random_range(b' '..b'~'))).collect()
    };
    let sample = |index: i64| Sourced {
        sample: plant_model::Sample {
            value: Some(Value::Text(text(&mut rng).into())),
            quality: plant_model::Quality::GOOD,
            source_timestamp: None,
            gateway_timestamp: at(index * 1_000_000),
        },
        source: Source { epoch: Epoch::from_u64(1), sequence: Sequence::from_u64(1) },
        detail: Detail::Full,
    };
    Memory::new(machine(0)).tag(1, (0..24_000).map(sample).collect())
}

#[tokio::test]
async fn a_large_object_goes_in_parts_and_is_not_written_over_either() {
    let (_folder, address, plan) = server().await;
    let archive = archive(address, SECRET);
    let memory = [large(), Memory::of_chance(1, 2, 2, 50)];
    let written = write(&archive, &memory).await.expect("writes");
    assert!(written.bytes > 16 << 20, "{}", written.bytes);
    assert!(plan.puts.load(Ordering::Relaxed) > 3, "create, two parts, complete");
    assert_eq!(archive.verify(&tenant(), &row(&written)).await.expect("verifies").object, written);
    let again = write(&archive, &memory).await;
    assert!(matches!(again, Err(ArchiveError::Exists { .. })), "{again:?}");
    assert_eq!(archive.verify(&tenant(), &row(&written)).await.expect("verifies").object, written);
}

#[tokio::test]
async fn st4_a_link_that_fails_is_tried_again_and_never_gives_other_samples() {
    let (_folder, address, plan) = server().await;
    let archive = archive(address, SECRET);
    let memory = [Memory::of_chance(0, 1, 3, 500)];
    plan.fail(Method::PUT, Fault::Busy, 2);
    let written = write(&archive, &memory).await.expect("writes at last");
    assert_eq!(plan.left(), 0);
    for fault in [Fault::Busy, Fault::Cut, Fault::Short] {
        plan.fail(Method::GET, fault, 1);
        let query = query(0, &[1], at(0)..at(DAY));
        match archive.read(&tenant(), &row(&written), query).await {
            Ok(read) => assert_eq!(bits(&read.tags[0].1), bits(&of_day(&memory[0], 1)), "{fault:?}"),
            Err(ArchiveError::Unavailable { .. }) => assert_ne!(fault, Fault::Busy, "it was only busy"),
            Err(other) => panic!("{fault:?}: {other:?}"),
        }
        assert_eq!(plan.left(), 0, "{fault:?} took place");
    }
    for fault in [Fault::Busy, Fault::Cut, Fault::Short] {
        plan.fail(Method::GET, fault, usize::MAX);
        let failed = archive.verify(&tenant(), &row(&written)).await;
        assert!(matches!(failed, Err(ArchiveError::Unavailable { .. })), "{fault:?}: {failed:?}");
    }
}

#[tokio::test]
async fn a_wrong_secret_is_refused_and_not_shown() {
    let (_folder, address, _plan) = server().await;
    let refused = archive(address, "wrongwrongwrong").list(&tenant()).await.expect_err("refused");
    assert!(matches!(refused, ArchiveError::Unavailable { .. }), "{refused:?}");
    assert!(!format!("{refused:?}").contains("wrongwrong"), "{refused:?}");
}
