//! Connections and paths.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use super::body::AnswerBody;
use super::commands::{self, Answer, Caller};
use super::{Port, State, health, metrics};

/// Bytes of a request's line and headers.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// Rest after an accept that failed, most likely for want of file descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Serves these ports until the process ends, each with so many connections at a time. The oldest gives way
/// to a new one: it is the one that a slow peer holds, since an answer takes milliseconds.
pub fn serve(
    listeners: Vec<(Port, TcpListener)>,
    connections_max: usize,
    state: &Arc<State>,
) -> io::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async {
        let mut loops = Vec::new();
        for (port, listener) in listeners {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            loops.push(tokio::spawn(accept(port, listener, connections_max, Arc::clone(state))));
        }
        for ended in loops {
            ended.await.map_err(io::Error::other)?;
        }
        Ok(())
    })
}

async fn accept(
    port: Port,
    listener: tokio::net::TcpListener,
    connections_max: usize,
    state: Arc<State>,
) {
    let mut open: VecDeque<JoinHandle<()>> = VecDeque::with_capacity(connections_max);
    loop {
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept a connection on an admin port");
                tokio::time::sleep(ACCEPT_REST).await;
                continue;
            }
        };
        if open.len() >= connections_max {
            open.retain(|connection| !connection.is_finished());
        }
        if open.len() >= connections_max
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
            // Its file descriptor is free before the next connection takes one.
            let _ = oldest.await;
        }
        let connection = converse(port, stream, remote.ip().to_canonical(), Arc::clone(&state));
        open.push_back(tokio::spawn(connection));
    }
}

/// One connection, to its end. It ends when no whole request comes within the idle time, or when the
/// peer takes nothing of an answer for as long.
async fn converse(port: Port, stream: TcpStream, remote: IpAddr, state: Arc<State>) {
    let idle = Some(state.settings.admin.idle_timeout).filter(|idle| !idle.is_zero());
    let prepared =
        stream.set_nodelay(true).and_then(|()| SockRef::from(&stream).set_tcp_user_timeout(idle));
    if let Err(error) = prepared {
        debug!(%error, "cannot prepare an admin connection");
        return;
    }
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(answer(port, remote, &state, request).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(idle)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .half_close(true);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        debug!(%error, "an admin connection ended");
    }
}

async fn answer(
    port: Port,
    remote: IpAddr,
    state: &State,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    let path = request.uri().path();
    let query = request.uri().query().unwrap_or_default();
    let is_known = match port {
        Port::Metrics => path == "/metrics",
        Port::Admin => command_of(path, &state.settings.admin.command_url).is_some(),
    };
    if !is_known && !matches!(path, "/livez" | "/readyz") {
        return plain(StatusCode::NOT_FOUND, "Not Found\n");
    }
    let may_post = port == Port::Admin;
    match *request.method() {
        Method::GET | Method::HEAD => {}
        Method::POST if may_post => {}
        Method::TRACE => return plain(StatusCode::FORBIDDEN, ""),
        Method::OPTIONS => {
            let mut response = plain(StatusCode::OK, "");
            let allowed = if may_post { "GET, HEAD, POST, OPTIONS" } else { "GET, HEAD, OPTIONS" };
            response.headers_mut().insert(ALLOW, allowed.parse().expect("an ASCII literal"));
            return response;
        }
        _ => return plain(StatusCode::METHOD_NOT_ALLOWED, ""),
    }
    match path {
        "/livez" => health::live(state).await,
        "/readyz" => health::ready(state).await,
        "/metrics" if port == Port::Metrics => metrics::scrape(state, query).await,
        _ => {
            let name = command_of(path, &state.settings.admin.command_url).unwrap_or_default();
            if name.is_empty() {
                return listing(&state.settings.admin.command_url);
            }
            let header = |name| request.headers().get(name)?.to_str().ok().map(str::to_owned);
            let caller = Caller {
                remote,
                is_post: request.method() == Method::POST,
                authorization: header(AUTHORIZATION),
                query: parse_query(query),
            };
            respond(commands::run(state, &percent_decoded(name), &caller).await)
        }
    }
}

/// The command's name in a path below the commands' URL; empty for their list.
fn command_of<'p>(path: &'p str, url: &str) -> Option<&'p str> {
    match path.strip_prefix(url)? {
        "" => Some(""),
        rest => rest.strip_prefix('/'),
    }
}

fn respond(answer: Answer) -> Response<AnswerBody> {
    let kind = match answer.body {
        AnswerBody::Text(_) => "application/json",
        AnswerBody::File(..) => "application/octet-stream",
    };
    let mut response = Response::builder().status(answer.status).header(CONTENT_TYPE, kind);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(answer.body).expect("our headers are ASCII")
}

/// The links to all commands, as Apache lists them.
fn listing(url: &str) -> Response<AnswerBody> {
    let links: String = commands::names()
        .map(|name| format!("<a href=\"{url}/{name}\">{name}</a>\n<br/>\n"))
        .collect();
    typed(StatusCode::OK, "text/html; charset=utf-8", links)
}

/// An answer for people.
pub fn plain(status: StatusCode, text: impl Into<String>) -> Response<AnswerBody> {
    typed(status, "text/plain; charset=utf-8", text.into())
}

/// An answer of this type.
pub fn typed(status: StatusCode, kind: &str, text: String) -> Response<AnswerBody> {
    let response = Response::builder().status(status).header(CONTENT_TYPE, kind);
    response.body(AnswerBody::text(text)).expect("our headers are ASCII")
}

/// Name and value of each parameter, in order.
pub fn parse_query(query: &str) -> Vec<(String, String)> {
    let parameters = query.split('&').filter(|parameter| !parameter.is_empty());
    parameters
        .map(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            (percent_decoded(&name.replace('+', " ")), percent_decoded(&value.replace('+', " ")))
        })
        .collect()
}

fn percent_decoded(text: &str) -> String {
    let hex = |byte: &u8| char::from(*byte).to_digit(16);
    let mut rest = text.as_bytes();
    let mut bytes = Vec::with_capacity(rest.len());
    while let [first, behind @ ..] = rest {
        match behind {
            [high, low, after @ ..] if *first == b'%' => match (hex(high), hex(low)) {
                (Some(high), Some(low)) => {
                    bytes.push((high * 16 + low) as u8);
                    rest = after;
                    continue;
                }
                _ => bytes.push(*first),
            },
            _ => bytes.push(*first),
        }
        rest = behind;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries() {
        assert_eq!(command_of("/commands", "/commands"), Some(""));
        assert_eq!(command_of("/commands/", "/commands"), Some(""));
        assert_eq!(command_of("/commands/stat", "/commands"), Some("stat"));
        assert_eq!(command_of("/commandsx", "/commands"), None);
        assert_eq!(command_of("/", "/commands"), None);
        let query = parse_query("traceMask=7&name%5B%5D=a+b&x");
        let expected = [("traceMask", "7"), ("name[]", "a b"), ("x", "")];
        assert!(query.iter().map(|(n, v)| (n.as_str(), v.as_str())).eq(expected));
        assert_eq!(percent_decoded("%zz%4"), "%zz%4");
    }
}
