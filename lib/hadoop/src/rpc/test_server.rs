//! The server's side of Hadoop RPC with a token, for tests: authenticates for real, then answers by a script.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::frame;
use super::messages::{
    CONTEXT_CALL_ID, IpcConnectionContextProto, RequestHeaderProto, RpcRequestHeaderProto, RpcResponseHeaderProto,
    RpcSaslProto, SASL_CALL_ID, SaslAuthProto, state, status,
};
use super::sasl::{Protection, tests::accept};
use crate::token::Token;

/// What the server does with a call.
pub(crate) enum Reply {
    /// Answers it.
    Answer(Vec<u8>),
    /// Answers with an exception.
    Exception { class: &'static str, message: String, fatal: bool },
    /// Sends these bytes as they are, and closes.
    Raw(Vec<u8>),
    /// Closes the connection without an answer.
    Close,
    /// Never answers.
    Hang,
}

impl Reply {
    pub(crate) fn answer(message: &impl Message) -> Self {
        Self::Answer(message.encode_to_vec())
    }

    pub(crate) fn exception(class: &'static str, message: &str) -> Self {
        Self::Exception { class, message: format!("{message}\n\tat org.A.b(A.java:1)"), fatal: false }
    }
}

type Script = Box<dyn FnMut(&str, &[u8]) -> Reply + Send>;

struct Shared {
    qop: &'static str,
    /// Tokens that are taken; all others are refused as invalid.
    tokens: Mutex<Vec<Token>>,
    script: Mutex<Script>,
    /// Identifiers of the tokens of all accepted connections.
    logins: Mutex<Vec<Vec<u8>>>,
}

/// A server on a free port of the loopback interface. It ends when dropped.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TestServer {
    pub(crate) async fn start(
        qop: &'static str,
        tokens: Vec<Token>,
        script: impl FnMut(&str, &[u8]) -> Reply + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            qop,
            tokens: Mutex::new(tokens),
            script: Mutex::new(Box::new(script)),
            logins: Mutex::default(),
        });
        let serving = shared.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let shared = serving.clone();
                connections.spawn(async move {
                    let _ = Peer { stream, protection: None, unwrapped: Vec::new() }.serve(&shared).await;
                });
            }
        });
        Self { address, shared, task }
    }

    pub(crate) fn set_tokens(&self, tokens: Vec<Token>) {
        *self.shared.tokens.lock().unwrap() = tokens;
    }

    pub(crate) fn logins(&self) -> Vec<Vec<u8>> {
        self.shared.logins.lock().unwrap().clone()
    }
}

struct Peer {
    stream: TcpStream,
    protection: Option<Box<Protection>>,
    unwrapped: Vec<u8>,
}

impl Peer {
    async fn serve(&mut self, shared: &Shared) -> std::io::Result<()> {
        let mut preamble = [0; 7];
        self.stream.read_exact(&mut preamble).await?;
        assert_eq!(preamble, frame::PREAMBLE);
        if !self.authenticate(shared).await? {
            return Ok(());
        }
        let packet = self.receive().await?;
        let (header, mut rest) = request_header(&packet);
        assert_eq!((header.call_id, header.client_id.len()), (CONTEXT_CALL_ID, 16));
        let context = IpcConnectionContextProto::decode_length_delimited(&mut rest).unwrap();
        loop {
            let packet = self.receive().await?;
            let (header, mut rest) = request_header(&packet);
            let request = RequestHeaderProto::decode_length_delimited(&mut rest).unwrap();
            assert_eq!(context.protocol.as_ref(), Some(&request.declaring_class_protocol_name));
            let length = prost::decode_length_delimiter(&mut rest).unwrap();
            assert_eq!(length, rest.len());
            let reply = (shared.script.lock().unwrap())(&request.method_name, rest);
            match reply {
                Reply::Answer(answer) => self.send(&response(header.call_id, None, Some(&answer))).await?,
                Reply::Exception { class, message, fatal } => {
                    self.send(&response(header.call_id, Some((class, &message, fatal)), None)).await?;
                    if fatal {
                        return Ok(());
                    }
                }
                Reply::Raw(bytes) => return self.stream.write_all(&bytes).await,
                Reply::Close => return Ok(()),
                Reply::Hang => std::future::pending().await,
            }
        }
    }

    async fn authenticate(&mut self, shared: &Shared) -> std::io::Result<bool> {
        let first = self.receive_sasl().await?;
        assert_eq!(first.state, state::NEGOTIATE);
        let challenge = format!(
            "realm=\"default\",nonce=\"{:x}\",qop=\"{}\",charset=utf-8,cipher=\"3des,rc4\",algorithm=md5-sess",
            rand::random::<u128>(),
            shared.qop
        );
        let auth = SaslAuthProto {
            method: "TOKEN".into(),
            mechanism: "DIGEST-MD5".into(),
            protocol: Some(String::new()),
            server_id: Some("default".into()),
            challenge: Some(challenge.clone().into_bytes()),
        };
        self.send_sasl(state::NEGOTIATE, None, vec![auth]).await?;
        let answer = self.receive_sasl().await?;
        assert_eq!(answer.state, state::INITIATE);
        assert_eq!(answer.auths.len(), 1);
        let text = answer.token.unwrap();
        let tokens = shared.tokens.lock().unwrap().clone();
        let known = tokens.iter().find_map(|token| accept(token, &challenge, &text).map(|accepted| (token, accepted)));
        let Some((token, (proof, protection))) = known else {
            let class = "org.apache.hadoop.security.token.SecretManager$InvalidToken";
            self.send(&response(
                SASL_CALL_ID,
                Some((class, "Invalid AMRMToken from appattempt_1\n\tat x", true)),
                None,
            ))
            .await?;
            return Ok(false);
        };
        shared.logins.lock().unwrap().push(token.identifier.clone());
        self.send_sasl(state::SUCCESS, Some(format!("rspauth={proof}").into_bytes()), Vec::new()).await?;
        self.protection = protection.map(Box::new);
        Ok(true)
    }

    async fn receive_sasl(&mut self) -> std::io::Result<RpcSaslProto> {
        let packet = self.receive_plain().await?;
        let (header, mut rest) = request_header(&packet);
        assert_eq!((header.call_id, header.retry_count), (SASL_CALL_ID, Some(-1)));
        Ok(RpcSaslProto::decode_length_delimited(&mut rest).unwrap())
    }

    async fn send_sasl(
        &mut self,
        state: i32,
        token: Option<Vec<u8>>,
        auths: Vec<SaslAuthProto>,
    ) -> std::io::Result<()> {
        let message = RpcSaslProto { state, token, auths };
        self.stream.write_all(&response(SASL_CALL_ID, None, Some(&message.encode_to_vec()))).await
    }

    async fn send(&mut self, packet: &[u8]) -> std::io::Result<()> {
        let Some(protection) = &mut self.protection else {
            return self.stream.write_all(packet).await;
        };
        // in pieces that do not keep to the packets' borders
        for part in packet.chunks(50) {
            let token = Some(protection.wrap(part));
            let message = RpcSaslProto { state: state::WRAP, token, auths: Vec::new() };
            self.stream.write_all(&response(SASL_CALL_ID, None, Some(&message.encode_to_vec()))).await?;
        }
        Ok(())
    }

    async fn receive(&mut self) -> std::io::Result<Vec<u8>> {
        if self.protection.is_none() {
            return self.receive_plain().await;
        }
        loop {
            if let Some((prefix, rest)) = self.unwrapped.split_first_chunk::<4>() {
                let length = u32::from_be_bytes(*prefix) as usize;
                if rest.len() >= length {
                    let packet = rest[..length].to_vec();
                    self.unwrapped.drain(..4 + length);
                    return Ok(packet);
                }
            }
            let message = self.receive_sasl().await?;
            assert_eq!(message.state, state::WRAP);
            let bytes = self.protection.as_mut().unwrap().unwrap(&message.token.unwrap()).unwrap();
            self.unwrapped.extend(bytes);
        }
    }

    async fn receive_plain(&mut self) -> std::io::Result<Vec<u8>> {
        let length = self.stream.read_u32().await?;
        let mut packet = vec![0; length as usize];
        self.stream.read_exact(&mut packet).await?;
        Ok(packet)
    }
}

fn request_header(mut packet: &[u8]) -> (RpcRequestHeaderProto, &[u8]) {
    let header = RpcRequestHeaderProto::decode_length_delimited(&mut packet).unwrap();
    (header, packet)
}

/// A packet of the server with its length; `body` is a message without its length.
pub(crate) fn response(call_id: i32, exception: Option<(&str, &str, bool)>, body: Option<&[u8]>) -> Vec<u8> {
    let mut header = RpcResponseHeaderProto { call_id: call_id as u32, ..Default::default() };
    if let Some((class, message, fatal)) = exception {
        header.status = if fatal { status::FATAL } else { status::ERROR };
        header.exception_class_name = Some(class.to_owned());
        header.error_msg = Some(message.to_owned());
    }
    let mut out = header.encode_length_delimited_to_vec();
    if let Some(body) = body {
        prost::encode_length_delimiter(body.len(), &mut out).unwrap();
        out.extend_from_slice(body);
    }
    [&(out.len() as u32).to_be_bytes()[..], &out].concat()
}
