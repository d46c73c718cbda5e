//! The opening words of an RTMP player (RTMP 1.0, sections 5 and 7): plain
//! handshake, `connect`, `createStream`, `play`.
//!
//! Answers stay unread: servers carry out what is sent in order, and the first
//! stream of a connection has the number one.

use std::io::Result;
use std::net::SocketAddr;

use tokio::net::TcpStream;

use crate::load::{read, write_all};

const VERSION: u8 = 3;
const HANDSHAKE: usize = 1536;
/// Large enough that every message here is one chunk.
const CHUNK_SIZE: u32 = 4096;
const SET_CHUNK_SIZE: u8 = 1;
const COMMAND_AMF0: u8 = 20;

/// Asks for the stream `key` of the application `live2`.
pub(crate) async fn play(socket: &TcpStream, address: SocketAddr, key: &str) -> Result<()> {
    let mut hello = vec![0; 1 + HANDSHAKE];
    hello[0] = VERSION;
    write_all(socket, &hello).await?;
    let mut theirs = vec![0; 1 + 2 * HANDSHAKE];
    let mut filled = 0;
    while filled < theirs.len() {
        filled += read(socket, &mut theirs[filled..]).await?;
    }
    write_all(socket, &theirs[1..=HANDSHAKE]).await?;
    write_all(socket, &requests(address, key)).await
}

fn requests(address: SocketAddr, key: &str) -> Vec<u8> {
    let app =
        [text_property("app", "live2"), text_property("tcUrl", &format!("rtmp://{address}/live2"))];
    let connect = [amf_text("connect"), amf_number(1.0), amf_object(&app.concat())].concat();
    let create = [amf_text("createStream"), amf_number(2.0), amf_null()].concat();
    let play = [amf_text("play"), amf_number(3.0), amf_null(), amf_text(key)].concat();
    [
        message(2, SET_CHUNK_SIZE, 0, &CHUNK_SIZE.to_be_bytes()),
        message(3, COMMAND_AMF0, 0, &connect),
        message(3, COMMAND_AMF0, 0, &create),
        message(8, COMMAND_AMF0, 1, &play),
    ]
    .concat()
}

/// One chunk with a full header (section 5.3.1.2.1), at time zero.
fn message(chunk_stream: u8, kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("commands are short").to_be_bytes();
    let mut bytes = vec![chunk_stream, 0, 0, 0];
    bytes.extend(&length[1..]);
    bytes.push(kind);
    bytes.extend(stream.to_le_bytes());
    bytes.extend(payload);
    bytes
}

fn amf_number(number: f64) -> Vec<u8> {
    [&[0][..], &number.to_be_bytes()].concat()
}

fn amf_text(text: &str) -> Vec<u8> {
    [&[2][..], &counted(text)].concat()
}

fn amf_null() -> Vec<u8> {
    vec![5]
}

fn amf_object(properties: &[u8]) -> Vec<u8> {
    [&[3][..], properties, &[0, 0, 9]].concat()
}

fn text_property(name: &str, value: &str) -> Vec<u8> {
    [counted(name), amf_text(value)].concat()
}

fn counted(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("names are short");
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}
