//! The code of every refusal.

use sotto_crypto::certificate::CertificateError;
use sotto_crypto::letter::{ContentError, LetterError, ResendError, TextError};
use sotto_crypto::manifest::{DevicesError, HistoryError, ManifestError};
use sotto_crypto::olm::OlmError;
use sotto_crypto::prekey::PrekeyError;
use sotto_crypto::seal::SealError;
use sotto_crypto::seal::ephemeral::EphemeralError;
use sotto_protocol::decode::DecodeError;

pub(crate) fn decode(error: &DecodeError) -> &'static str {
    match error {
        DecodeError::UnknownVersion { .. } => "unknown-version",
        DecodeError::UnknownKind { .. } => "unknown-kind",
        DecodeError::TrailingBytes => "trailing-bytes",
        DecodeError::Truncated => "truncated",
        DecodeError::BadName => "bad-name",
        DecodeError::BadPadding => "bad-padding",
        DecodeError::BadChecksum => "bad-checksum",
        DecodeError::NotAnInvite => "not-an-invite",
        DecodeError::TooLong { .. }
        | DecodeError::WrongLength { .. }
        | DecodeError::Malformed
        | DecodeError::Missing { .. }
        | DecodeError::WrongCount { .. }
        | DecodeError::NotHex
        | DecodeError::NotBase64
        | DecodeError::BadAddress => "malformed",
    }
}

pub(crate) fn certificate(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Malformed(error) => decode(error),
        CertificateError::BadSignature => "bad-signature",
        CertificateError::WrongAccount => "wrong-account",
        CertificateError::EpochZero => "epoch-zero",
        CertificateError::Expired => "expired",
    }
}

pub(crate) fn manifest(error: &ManifestError) -> &'static str {
    match error {
        ManifestError::CannotOpen => "cannot-open",
        ManifestError::Malformed(error) => decode(error),
        ManifestError::Certificate(CertificateError::BadSignature) => "bad-certificate-signature",
        ManifestError::Certificate(CertificateError::Expired) => "certificate-expired",
        ManifestError::Certificate(error) => certificate(error),
        ManifestError::BadSignature => "bad-signature",
        ManifestError::WrongAccount => "wrong-account",
        ManifestError::WrongEpoch => "wrong-epoch",
        ManifestError::VersionZero => "version-zero",
        ManifestError::Expired => "expired",
        ManifestError::DatedAhead => "dated-ahead",
        ManifestError::Devices(DevicesError::DuplicateDevice) => "duplicate-device",
        ManifestError::Devices(DevicesError::DuplicateKey) => "duplicate-key",
        ManifestError::Devices(DevicesError::WeakKey) => "weak-key",
        ManifestError::Devices(DevicesError::DuplicateInbox) => "duplicate-inbox",
        ManifestError::Devices(DevicesError::AuthorUnlisted) => "author-unlisted",
        ManifestError::Devices(DevicesError::ReplacesListed) => "replaces-listed",
        ManifestError::History(HistoryError::Compromised) => "compromised",
        ManifestError::History(HistoryError::Older) => "older",
        ManifestError::History(HistoryError::Fork) => "fork",
        ManifestError::History(HistoryError::Unlinked) => "unlinked",
    }
}

pub(crate) fn ephemeral(error: &EphemeralError) -> &'static str {
    match error {
        EphemeralError::Malformed(error) => decode(error),
        EphemeralError::WrongTag => "wrong-tag",
        EphemeralError::CannotOpen => "cannot-open",
        EphemeralError::NotOfNow => "not-of-now",
        EphemeralError::NotNewer => "not-newer",
    }
}

pub(crate) fn prekey(error: &PrekeyError) -> &'static str {
    match error {
        PrekeyError::CannotOpen => "cannot-open",
        PrekeyError::Malformed(error) => decode(error),
        PrekeyError::Unsigned => "unsigned",
        PrekeyError::WrongPurpose => "wrong-purpose",
        PrekeyError::BadSignature => "bad-signature",
        PrekeyError::Expired => "expired",
        PrekeyError::HoldsTooLong => "holds-too-long",
        PrekeyError::NonContributory => "non-contributory",
        PrekeyError::BadKemKey => "bad-kem-key",
    }
}

pub(crate) fn seal(error: &SealError) -> &'static str {
    match error {
        SealError::Malformed(error) => decode(error),
        SealError::WrongOpener => "wrong-opener",
        SealError::WrongTag => "wrong-tag",
        SealError::CannotOpen => "cannot-open",
        SealError::MissingSender => "missing-sender",
        SealError::UnexpectedSender => "unexpected-sender",
    }
}

pub(crate) fn olm(error: &OlmError) -> &'static str {
    match error {
        OlmError::Malformed(error) => decode(error),
        OlmError::WrongSession => "wrong-session",
        OlmError::BadMessage => "bad-message",
        OlmError::MissingKey { .. } => "missing-key",
        OlmError::TooFarAhead { .. } => "too-far-ahead",
        OlmError::MissingOneTimeKey => "missing-one-time-key",
        OlmError::WrongIdentity => "wrong-identity",
        OlmError::NonContributory => "non-contributory",
        OlmError::NotAPrekeyMessage => "not-a-prekey-message",
    }
}

pub(crate) fn letter(error: &LetterError) -> &'static str {
    match error {
        LetterError::Malformed(error) => decode(error),
        LetterError::WrongSender => "wrong-sender",
        LetterError::WrongBinding => "wrong-binding",
        LetterError::CounterZero => "counter-zero",
        LetterError::CounterTooHigh => "counter-too-high",
        LetterError::OrdinalTooHigh => "ordinal-too-high",
        LetterError::BadOldest => "bad-oldest",
        LetterError::TooManyEarlier => "too-many-earlier",
        LetterError::MissingReplyInbox => "missing-reply-inbox",
        LetterError::RedundantConversation => "redundant-conversation",
    }
}

pub(crate) fn content(error: &ContentError) -> &'static str {
    match error {
        ContentError::Malformed(error) => decode(error),
        ContentError::BodyCount { .. } => "body-count",
        ContentError::Misplaced => "misplaced",
        ContentError::Text(TextError::Empty) => "empty-text",
        ContentError::Text(TextError::TooLong { .. }) => "text-too-long",
        ContentError::Text(TextError::TooManyRanges { .. }) => "too-many-ranges",
        ContentError::Text(TextError::EmptyRange) => "empty-range",
        ContentError::Text(TextError::RangeBeyondEnd) => "range-beyond-end",
        ContentError::Text(TextError::BadPart(error)) => decode(error),
        ContentError::Resend(ResendError::Nothing) => "nothing-named",
        ContentError::Resend(ResendError::TooManyRanges { .. }) => "too-many-ranges",
        ContentError::Resend(ResendError::TooManyHashes { .. }) => "too-many-hashes",
        ContentError::Resend(ResendError::BadRange) => "bad-range",
        ContentError::BadName => "bad-name",
        ContentError::FallbackTooLong { .. } => "fallback-too-long",
    }
}
