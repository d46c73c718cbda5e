//! What bodies write to real sockets, and what they leave to the server.

use std::future::poll_fn;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use actix_web::body::to_bytes;
use actix_web::test::TestRequest;
use tokio::sync::{mpsc, watch};

use super::*;
use crate::http::media::notifier::{Notifier, Notifiers, Published};
use crate::model::ids::StreamName;

fn pieces() -> Vec<Bytes> {
    let sizes = [3, 100_000, 1, 0, 20_000, 16 << 10, 5];
    sizes.iter().map(|size| Bytes::from(vec![*size as u8; *size])).collect()
}

#[test]
fn the_server_gets_small_slices() {
    let mut out: VecDeque<_> = pieces().into();
    let slices: Vec<_> = std::iter::from_fn(|| slice(&mut out)).collect();
    assert!(slices.iter().all(|slice| slice.len() <= MAX_SLICE_BYTES));
    assert_eq!(slices.concat(), pieces().concat());
}

#[derive(Debug)]
struct Items(StreamName, watch::Sender<u64>);

impl Published for Items {
    fn subscribe(&self) -> watch::Receiver<u64> {
        self.1.subscribe()
    }

    fn oldest(&self) -> u64 {
        0
    }

    fn name(&self) -> &StreamName {
        &self.0
    }
}

struct Queue(mpsc::UnboundedReceiver<Bytes>, Subscription);

impl Source for Queue {
    fn more(&mut self, out: &mut VecDeque<Bytes>) -> Option<Continue> {
        match self.0.try_recv() {
            Ok(item) => out.push_back(item),
            Err(mpsc::error::TryRecvError::Empty) => return None,
            Err(mpsc::error::TryRecvError::Disconnected) => return Some(Continue::End),
        }
        Some(Continue::On)
    }

    fn subscription(&self) -> Option<&Subscription> {
        Some(&self.1)
    }
}

/// A body at the live edge, with the server's and the client's end of its socket.
struct Served {
    body: Body<Queue>,
    items: mpsc::UnboundedSender<Bytes>,
    published: Arc<Items>,
    server: TcpStream,
    client: TcpStream,
}

impl Served {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        let connection = Rc::new(Connection::duplicate(&server, true).unwrap());
        let name = "camera".parse().unwrap();
        let published = Arc::new(Items(name, watch::Sender::new(0)));
        let notifier = Notifiers::default().get(&published);
        let subscription = Notifier::subscribe(&notifier, Some(Rc::clone(&connection)));
        let (items, queue) = mpsc::unbounded_channel();
        let source = Queue(queue, subscription);
        let body = Body::with(Some(connection), Framing::Chunked, Some(source));
        Self { body, items, published, server, client }
    }

    async fn publish(&self, item: Bytes) {
        self.items.send(item).unwrap();
        self.published.1.send_modify(|number| *number += 1);
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
    }

    /// Waits for the notifier to send `count` bytes.
    async fn received(&mut self, count: usize) -> Vec<u8> {
        self.client.set_nonblocking(true).unwrap();
        let mut received = Vec::new();
        while received.len() < count {
            let mut bytes = vec![0; count - received.len()];
            let read = self.client.read(&mut bytes).unwrap_or(0);
            received.extend_from_slice(&bytes[..read]);
            tokio::task::yield_now().await;
        }
        received
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[actix_web::test]
async fn an_item_at_the_live_edge_is_sent_without_the_task_of_its_response() {
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut served = Served::new();
    let polled = Pin::new(&mut served.body).poll_next(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    tokio::task::yield_now().await;

    served.publish(Bytes::from_static(b"first")).await;
    served.publish(Bytes::from_static(b"second")).await;

    assert_eq!(served.received(21).await, b"5\r\nfirst\r\n6\r\nsecond\r\n");
    assert!(!woken.0.load(Ordering::Relaxed));
}

#[actix_web::test]
async fn what_the_socket_does_not_take_is_sent_by_the_response_in_order() {
    let mut served = Served::new();
    let large: Bytes = (0..8u32 << 20).map(|n| (n / 7) as u8).collect::<Vec<_>>().into();
    let mut client = served.client.try_clone().unwrap();
    assert!(poll_once(&mut served.body).await.is_pending());
    tokio::task::yield_now().await;
    served.publish(large.clone()).await;
    // The server has bytes to send: the notifier must not write between them.
    let Poll::Ready(Some(Ok(slice))) = poll_once(&mut served.body).await else {
        panic!("the socket cannot have taken 8 MiB");
    };
    served.publish(Bytes::from_static(b"next")).await;
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        client.read_to_end(&mut all).map(|_| all).unwrap()
    });
    served.server.set_nonblocking(false).unwrap();
    served.server.write_all(&slice).unwrap();
    while let Poll::Ready(Some(Ok(slice))) = poll_once(&mut served.body).await {
        served.server.write_all(&slice).unwrap();
    }
    served.server.shutdown(Shutdown::Write).unwrap();

    let head = format!("{:X}\r\n", large.len());
    let expected = [head.as_bytes(), &large, b"\r\n4\r\nnext\r\n"].concat();
    assert!(reader.join().unwrap() == expected, "bytes are missing or not in order");
}

async fn poll_once<S: Source>(body: &mut Body<S>) -> Poll<Option<Result<Bytes, Infallible>>> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *body).poll_next(cx))).await
}

#[actix_web::test]
async fn a_body_without_a_length_is_chunked_and_marks_its_end() {
    let request = TestRequest::get().to_http_request();
    let pieces = vec![Bytes::from_static(b"0123456789"), Bytes::from_static(b"abcdef")];
    let body = Body::new(&request, Framing::Chunked, Whole(pieces));
    let bytes = to_bytes(body).await.unwrap();
    assert_eq!(bytes, "10\r\n0123456789abcdef\r\n0\r\n\r\n");
}

#[actix_web::test]
async fn a_head_request_gets_no_body() {
    let request = TestRequest::default().method(Method::HEAD).to_http_request();
    let response = whole(&request, HttpResponse::Ok(), pieces());
    let length = response.headers().get(header::CONTENT_LENGTH).cloned();
    assert_eq!(length.unwrap(), pieces().concat().len().to_string().as_str());
    assert!(to_bytes(response.into_body()).await.unwrap().is_empty());
}
