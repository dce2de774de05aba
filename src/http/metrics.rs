//! `GET /metrics`: every metric of the process, in the text format of
//! Prometheus (version 0.0.4).

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::limits;
use crate::metrics;
use crate::net::listener::Listener;
use crate::net::socket::SocketOptions;

/// Bounds of histograms in seconds: from a quiet turn to one that is felt.
const SECONDS: [f64; 12] = [2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 5e-2, 0.2, 1.0];

/// Why metrics cannot be served.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// The address cannot be listened at.
    #[error("cannot serve metrics at {address}: {source}")]
    Bind {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// The program records its metrics elsewhere already.
    #[error("metrics are recorded elsewhere in this process already: {0}")]
    Recorded(String),
    /// The recorder refused its settings.
    #[error("metrics cannot be recorded: {0}")]
    Settings(#[from] BuildError),
}

/// Listens for those who ask for metrics.
#[derive(Debug)]
pub struct MetricsDoor {
    listener: Listener,
    handle: PrometheusHandle,
}

impl MetricsDoor {
    /// Binds, and records the metrics of this process from now on: what was
    /// looked up before stays uncounted, so it comes before
    /// [`crate::server::Server::start`]. Must be called inside a runtime, and
    /// once in a process.
    ///
    /// # Errors
    /// When the address cannot be listened at, or metrics are recorded already.
    pub fn open(address: SocketAddr) -> Result<Self, MetricsError> {
        let listener = Listener::bind(address, SocketOptions::default())
            .map_err(|source| MetricsError::Bind { address, source })?;
        let seconds = Matcher::Suffix("_seconds".to_owned());
        let recorder = PrometheusBuilder::new().set_buckets_for_metric(seconds, &SECONDS)?.build_recorder();
        let handle = recorder.handle();
        ::metrics::set_global_recorder(recorder)
            .map_err(|error| MetricsError::Recorded(error.to_string()))?;
        metrics::describe();
        Ok(Self { listener, handle })
    }

    /// The address it listens at, with the port that the system chose for port 0.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.address()
    }

    /// Answers until it is dropped. At most [`limits::METRICS_CONNECTIONS_MAX`]
    /// are served at a time, each for one request.
    ///
    /// # Cancel safety
    /// Connections that are being served are closed.
    pub async fn serve(mut self) -> Infallible {
        let mut connections = JoinSet::new();
        let mut upkeep = tokio::time::interval(Duration::from_millis(limits::METRICS_UPKEEP_MS));
        loop {
            tokio::select! {
                _ = upkeep.tick() => self.handle.run_upkeep(),
                Some(_) = connections.join_next() => {}
                (stream, _) = self.listener.accept(), if connections.len() < limits::METRICS_CONNECTIONS_MAX => {
                    connections.spawn(answer(stream, self.handle.clone()));
                }
            }
        }
    }
}

/// Serves one connection; what goes wrong with it concerns nobody else.
async fn answer(stream: TcpStream, handle: PrometheusHandle) {
    let respond = service_fn(|request| std::future::ready(Ok::<_, Infallible>(respond(&request, &handle))));
    let mut http = hyper::server::conn::http1::Builder::new();
    let served = http.keep_alive(false).serve_connection(TokioIo::new(stream), respond);
    let ended = tokio::time::timeout(Duration::from_millis(limits::METRICS_ANSWER_MS), served).await;
    tracing::debug!(?ended, "metrics were asked for");
}

fn respond(request: &Request<Incoming>, handle: &PrometheusHandle) -> Response<Full<Bytes>> {
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    let (status, content_type, body) = if request.uri().path() != "/metrics" {
        (StatusCode::NOT_FOUND, plain, "there is only /metrics\n".to_owned())
    } else if ![Method::GET, Method::HEAD].contains(request.method()) {
        (StatusCode::METHOD_NOT_ALLOWED, plain, "metrics can only be read\n".to_owned())
    } else {
        let version = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        (StatusCode::OK, version, handle.render())
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}
