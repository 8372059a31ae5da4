//! Samples as a file that is sent while it is made: in memory are a block of samples and what waits to be sent.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use history::{Budget, HistoryError, Reader};
use tokio::sync::mpsc;

use crate::export::{ExportError, FileFormat, SampleFile};
use crate::history::{History, Question};
use crate::problem::{Problem, chain};

/// For files: years of a machine. Minutes are looked at one block at a time.
const BUDGET: Budget = Budget { requests: 10_000, bytes: 64 << 30, ..Budget::INTERACTIVE };

/// Pieces that wait to be sent; a caller that reads slowly holds up the reading.
const PIECES_MAX: usize = 2;

type Piece = Result<Bytes, Problem>;

pub(super) async fn answer(
    history: &History,
    question: Question,
    format: FileFormat,
) -> Result<Response, Problem> {
    let question = Question { budget: BUDGET, ..question };
    let name = format!("{}-{}", question.subject.gateway, question.subject.machine);
    let (pieces, mut sent) = mpsc::channel::<Piece>(PIECES_MAX);
    history.begin(question, async move |opened| write(opened, format, pieces).await).await?;
    // What fails before the first piece is an error; what fails later breaks the answer off.
    let first = sent.recv().await.unwrap_or_else(|| Ok(Bytes::new()))?;
    let rest = futures_util::stream::unfold(sent, async |mut sent| {
        let piece = sent.recv().await?;
        let piece = piece.map_err(|problem| {
            let cause = problem.cause().unwrap_or("the query failed").to_owned();
            tracing::error!(error = cause, "a file of samples was broken off");
            std::io::Error::other(cause)
        });
        Some((piece, sent))
    });
    let first = futures_util::stream::once(std::future::ready(Ok(first)));
    let mut response = Response::new(Body::from_stream(futures_util::StreamExt::chain(first, rest)));
    let extension = format.extension();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}.{extension}\"")) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

/// Reads and sends until the end, an error, or until nobody listens any more.
async fn write(opened: Result<Reader<'_>, HistoryError>, format: FileFormat, pieces: mpsc::Sender<Piece>) {
    let outcome = match opened {
        Ok(reader) => write_blocks(reader, format, &pieces).await,
        Err(error) => Err(error.into()),
    };
    if let Err(problem) = outcome {
        // Nobody listens: then nobody misses it.
        let _ = pieces.send(Err(problem)).await;
    }
}

async fn write_blocks(
    mut reader: Reader<'_>,
    format: FileFormat,
    pieces: &mpsc::Sender<Piece>,
) -> Result<(), Problem> {
    let tags = reader.tags().iter().map(|tag| tag.tag.clone()).collect();
    let mut file = SampleFile::new(format, tags).map_err(failed)?;
    while let Some(block) = reader.next_block().await? {
        let piece = file.block(&block.samples).map_err(failed)?;
        if !piece.is_empty() && pieces.send(Ok(piece)).await.is_err() {
            return Ok(());
        }
    }
    let _ = pieces.send(Ok(file.finish().map_err(failed)?)).await;
    Ok(())
}

fn failed(error: ExportError) -> Problem {
    Problem::internal(chain(&error))
}
