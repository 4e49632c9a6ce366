//! Calls about chains: append, compact and delete by the write key, read by whoever knows the id.

use sotto_protocol::ChainId;
use sotto_protocol::limits::{CHAIN_ENTRY_BYTES_MAX, CHAIN_SNAPSHOT_BYTES_MAX};
use sotto_protocol::relay::{ChainAppend, ChainCompact, ChainDelete, ChainEntries, ChainHead, ChainRead};

use crate::problem::{Problem, Response};
use crate::relay::{Relay, at_most, id};
use crate::store::{Caller, Creation, Head};

impl Relay {
    pub(crate) async fn append_chain(&self, caller: Caller, message: ChainAppend) -> Result<Response, Problem> {
        at_most(message.entry.len(), CHAIN_ENTRY_BYTES_MAX)?;
        if !matches!(message.previous.len(), 0 | 32) {
            return Err(Problem::BadRequest);
        }
        let chain: ChainId = id(&message.chain)?;
        let creation = if message.previous.is_empty() {
            self.creation(chain.as_ref(), &message.invite_code, &message.proof_of_work)
        } else {
            Creation::Refused
        };
        let head = self.store.append_chain(caller, chain, message.previous, message.entry, creation).await?;
        Ok(Response::message(&wire_head(&head)))
    }

    pub(crate) async fn compact_chain(&self, caller: Caller, message: ChainCompact) -> Result<Response, Problem> {
        at_most(message.snapshot.len(), CHAIN_SNAPSHOT_BYTES_MAX)?;
        if message.head.len() != 32 {
            return Err(Problem::BadRequest);
        }
        let head = self.store.compact_chain(caller, id(&message.chain)?, message.head, message.snapshot).await?;
        Ok(Response::message(&wire_head(&head)))
    }

    pub(crate) async fn delete_chain(&self, caller: Caller, message: ChainDelete) -> Result<Response, Problem> {
        self.store.delete_chain(caller, id(&message.chain)?).await?;
        Ok(Response::empty())
    }

    pub(crate) async fn read_chain(&self, message: ChainRead) -> Result<Response, Problem> {
        let slice = self.store.read_chain(id(&message.chain)?, message.from).await?;
        Ok(Response::message(&ChainEntries {
            head: Some(wire_head(&slice.head)),
            first: slice.first,
            previous: slice.previous,
            snapshot: slice.snapshot.unwrap_or_default(),
            entries: slice.entries,
        }))
    }
}

fn wire_head(head: &Head) -> ChainHead {
    ChainHead { index: head.index, hash: head.hash.to_vec().into() }
}
