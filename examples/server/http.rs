//! The requests that are answered, and those that are not: who may send, how much, and for how long.

use crate::rounds::{Fate, Refusal, Rounds, Settings};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{get, put};
use futures::StreamExt;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use resam::Engine;
use std::sync::Arc;
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Least length of a token.
const TOKEN: usize = 16;

/// What one client can take from the others.
#[derive(Clone, Copy)]
pub struct Limits {
    /// Connections at a time; others wait.
    pub connections: usize,
    /// How long a connection may last, with one request: a slow client is cut off.
    pub lifetime: Duration,
    /// How long it may take to say who it is: strangers do not keep workers out for longer.
    pub greeting: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 1024, lifetime: Duration::from_secs(60), greeting: Duration::from_secs(5) }
    }
}

pub struct Server {
    rounds: Arc<Rounds>,
    /// Worker i's token.
    tokens: Vec<String>,
    limits: Limits,
}

type Answer = Result<(StatusCode, Vec<u8>), (StatusCode, String)>;

impl Server {
    pub fn new(settings: Settings, tokens: Vec<String>, limits: Limits) -> Result<Self, String> {
        let known = |i: usize| tokens[..i].contains(&tokens[i]);
        if tokens.len() != settings.n || tokens.iter().any(|token| token.len() < TOKEN) || (0..tokens.len()).any(known) {
            return Err(format!("each of the {} workers needs a token of its own, of at least {TOKEN} letters", settings.n));
        }
        let rounds = Rounds::new(settings).map_err(|e| e.to_string())?;
        Ok(Self { rounds: Arc::new(rounds), tokens, limits })
    }

    /// Serves for ever.
    pub async fn run(self, listener: TcpListener, engine: Engine) {
        let Limits { connections, lifetime, greeting } = self.limits;
        tokio::spawn(self.rounds.clone().run(engine));
        let routes = Router::new().route("/rounds/{round}/workers/{worker}", put(submit)).route("/rounds/{round}", get(result));
        let service = TowerToHyperService::new(routes.with_state(Arc::new(self)));
        let places = Arc::new(Semaphore::new(connections));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                // Out of files, say: others have to close theirs first.
                sleep(Duration::from_millis(100)).await;
                continue;
            };
            let connection = http1::Builder::new()
                .keep_alive(false)
                .timer(TokioTimer::new())
                .header_read_timeout(greeting)
                .serve_connection(TokioIo::new(stream), service.clone());
            tokio::spawn(async move {
                // However it ends, its place is free again, and so is that of a momentum that was on its way.
                let _ = timeout(lifetime, connection).await;
                drop(place);
            });
        }
    }

    /// The worker whose token was sent. All tokens are compared in full: the time it takes tells nothing about them.
    fn sender(&self, headers: &HeaderMap) -> Result<usize, (StatusCode, String)> {
        let token = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        let is = |i: usize| bool::from(self.tokens[i].as_bytes().ct_eq(token.unwrap_or_default()));
        let found = (0..self.tokens.len()).filter(|&i| is(i)).collect::<Vec<_>>();
        match found[..] {
            [worker] => Ok(worker),
            _ => Err((StatusCode::UNAUTHORIZED, "no worker has this token".into())),
        }
    }
}

/// `PUT /rounds/{round}/workers/{worker}`: a worker's momentum. Nothing of the body is read before it is known to be welcome.
async fn submit(
    State(server): State<Arc<Server>>,
    Path((round, worker)): Path<(u64, usize)>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let take = async {
        let sender = server.sender(&headers)?;
        if sender != worker {
            return Err((StatusCode::FORBIDDEN, format!("this is the token of worker {sender}")));
        }
        let place = server.rounds.place(round, worker).map_err(refused)?;
        let momentum = momentum(body, server.rounds.settings().d).await?;
        place.fill(momentum).map_err(refused)
    };
    match take.await {
        Ok(()) => Ok((StatusCode::ACCEPTED, Vec::new())),
        Err((status, reason)) => {
            println!("round {round}: a momentum for worker {worker} is not taken: {reason}");
            Err((status, reason))
        }
    }
}

/// `GET /rounds/{round}`: the result, for any worker.
async fn result(State(server): State<Arc<Server>>, Path(round): Path<u64>, headers: HeaderMap) -> Answer {
    server.sender(&headers)?;
    match server.rounds.fate(round) {
        Fate::Done(Ok(values)) => Ok((StatusCode::OK, values)),
        Fate::Done(Err(reason)) => Err((StatusCode::UNPROCESSABLE_ENTITY, reason)),
        Fate::Open => Ok((StatusCode::ACCEPTED, Vec::new())),
        Fate::Unknown => Err((StatusCode::NOT_FOUND, "there is no result of this round, or no longer".into())),
    }
}

/// d values, no more and no fewer.
async fn momentum(body: Body, d: usize) -> Result<Vec<f32>, (StatusCode, String)> {
    let (mut bytes, mut parts) = (Vec::new(), body.into_data_stream());
    while let Some(part) = parts.next().await {
        bytes.extend_from_slice(&part.map_err(|_| (StatusCode::BAD_REQUEST, "the request broke off".into()))?);
        if bytes.len() > 4 * d {
            return Err((StatusCode::PAYLOAD_TOO_LARGE, format!("more than the 4 x {d} bytes of a momentum")));
        }
    }
    if bytes.len() < 4 * d {
        return Err((StatusCode::BAD_REQUEST, format!("{} bytes, not the 4 x {d} of a momentum", bytes.len())));
    }
    Ok(bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect())
}

fn refused(refusal: Refusal) -> (StatusCode, String) {
    match refusal {
        Refusal::Over => (StatusCode::GONE, "this round is over".into()),
        Refusal::Early => (StatusCode::CONFLICT, "this round has not begun".into()),
        Refusal::Again => (StatusCode::CONFLICT, "this worker has sent a momentum, or is sending one".into()),
    }
}
