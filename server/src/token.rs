//! Calls about tokens: put and drop.

use sotto_protocol::limits::TOKENS_MAX;
use sotto_protocol::relay::{self, Managed, TokenDrop, TokenPut};
use sotto_protocol::{Alias, Timestamp};

use crate::problem::{Problem, Response};
use crate::relay::{Relay, at_most, id};
use crate::store::{Caller, TokenGrant};

impl Relay {
    pub(crate) async fn put_tokens(&self, caller: Caller, message: TokenPut) -> Result<Response, Problem> {
        at_most(message.tokens.len(), TOKENS_MAX)?;
        let grants = message.tokens.iter().map(grant).collect::<Result<_, _>>()?;
        let changes = self.store.put_tokens(caller, id(&message.inbox)?, grants).await?;
        Ok(Response::message(&Managed { changes }))
    }

    pub(crate) async fn drop_tokens(&self, caller: Caller, message: TokenDrop) -> Result<Response, Problem> {
        at_most(message.hashes.len(), TOKENS_MAX)?;
        let hashes = message.hashes.iter().map(|hash| id(hash)).collect::<Result<_, _>>()?;
        let changes = self.store.drop_tokens(caller, id(&message.inbox)?, hashes).await?;
        Ok(Response::message(&Managed { changes }))
    }
}

fn grant(token: &relay::Token) -> Result<TokenGrant, Problem> {
    if token.one_time_keys_per_claim > 1 {
        return Err(Problem::BadRequest);
    }
    Ok(TokenGrant {
        hash: id(&token.hash)?,
        alias: Alias(token.alias),
        expires_at: (token.expires_at_ms != 0).then(|| Timestamp::from_ms(token.expires_at_ms)),
        puts_per_claim: token.puts_per_claim,
        queued_bytes_max: token.queued_bytes_max,
        claims_max: token.claims,
        one_time_keys_per_claim: token.one_time_keys_per_claim,
    })
}
