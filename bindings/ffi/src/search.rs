//! Finding what was said.

use sotto_core::protocol::{AccountId, Timestamp};
use sotto_core::records;

use crate::error::SottoError;
use crate::messenger::Messenger;
use crate::records::{Message, TextSpan, list, record};

/// What to look for. Everything that is set must be true of a message.
#[derive(Clone, PartialEq, Eq, Debug, uniffi::Record)]
pub struct SearchQuery {
    /// As they are typed: all of them must be there, the last one as a beginning, and what stands in quotes together. Empty: any.
    pub words: String,
    /// In the conversation with a contact, or with oneself.
    #[uniffi(default = None)]
    pub conversation: Option<AccountId>,
    /// Said by somebody, or by oneself.
    #[uniffi(default = None)]
    pub sender: Option<AccountId>,
    /// Not before this time.
    #[uniffi(default = None)]
    pub since_ms: Option<u64>,
    /// Before this time.
    #[uniffi(default = None)]
    pub until_ms: Option<u64>,
}

impl From<SearchQuery> for records::SearchQuery {
    fn from(query: SearchQuery) -> Self {
        let SearchQuery { words, conversation, sender, since_ms, until_ms } = query;
        let time = |ms: Option<u64>| ms.map(Timestamp::from_ms);
        Self { words, conversation, sender, since: time(since_ms), until: time(until_ms) }
    }
}

record! {
    /// A page of what was found, the newest first.
    SearchPage from records::SearchPage as page {
        /// What was found.
        hits: Vec<SearchHit> = list(page.hits),
        /// Where the next page begins; none: there is none.
        next: Option<i64> = page.next,
        /// Whether everything that was said has been looked through: the same search finds more later where it has not.
        is_complete: bool = page.is_complete,
    }
}

record! {
    /// A message that was found.
    SearchHit from records::SearchHit as hit {
        /// It.
        message: Message = hit.message.into(),
        /// With whom it was said: whose conversation is to be opened, at its position.
        with_account: AccountId = hit.with,
        /// What to show of it.
        snippet: Snippet = hit.snippet.into(),
    }
}

record! {
    /// A piece of a text around the first place of what was found, on one line.
    Snippet from records::Snippet as snippet {
        /// The piece, with an ellipsis where it was cut.
        text: String = snippet.text,
        /// Where in it is what was looked for.
        matches: Vec<TextSpan> = list(snippet.matches),
    }
}

#[uniffi::export]
impl Messenger {
    /// Messages by their words, by conversation, sender and time, the newest first; at most a hundred. The page behind another begins at its
    /// `next`.
    ///
    /// # Errors
    /// [`SottoError::Input`] for a search for nothing, words longer than any text, or somebody who is no contact; [`SottoError::Device`].
    pub async fn search(&self, query: SearchQuery, before: Option<i64>, limit: u32) -> Result<SearchPage, SottoError> {
        let query = records::SearchQuery::from(query);
        self.run(|core| async move { core.search(query, before, limit).await.map(SearchPage::from) }).await
    }
}
