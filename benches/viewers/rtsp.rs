//! The opening words of an RTSP player: both tracks over its own connection
//! (RFC 2326, section 10).

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;

use tokio::net::TcpStream;

use crate::load::{read, write_all};

/// Describes, sets up both tracks and plays.
pub(crate) async fn play(socket: &TcpStream, address: SocketAddr) -> Result<()> {
    let url = format!("rtsp://{address}/camera");
    ask(socket, &format!("DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\n\r\n")).await?;
    let mut session = String::new();
    for track in 0..2 {
        let (rtp, rtcp) = (2 * track, 2 * track + 1);
        let request = format!(
            "SETUP {url}/stream={track} RTSP/1.0\r\nCSeq: {}\r\n{session}\
             Transport: RTP/AVP/TCP;unicast;interleaved={rtp}-{rtcp}\r\n\r\n",
            track + 2
        );
        let answer = ask(socket, &request).await?;
        let line = answer.lines().find(|line| line.starts_with("Session:"));
        let line = line.ok_or(ErrorKind::InvalidData)?;
        session = format!("{}\r\n", line.split(';').next().unwrap_or(line).trim_end());
    }
    ask(socket, &format!("PLAY {url} RTSP/1.0\r\nCSeq: 4\r\n{session}\r\n")).await?;
    Ok(())
}

/// The head of the answer; media may follow it at once.
async fn ask(socket: &TcpStream, request: &str) -> Result<String> {
    write_all(socket, request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        read(socket, &mut byte).await?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let mut left: usize = length.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let mut body = vec![0; left];
    while left > 0 {
        left -= read(socket, &mut body[..left]).await?;
    }
    let is_ok = head.starts_with("RTSP/1.0 200");
    if is_ok { Ok(head) } else { Err(Error::other(head)) }
}
