//! A conversation as one page of HTML that needs nothing but itself.
//!
//! What others wrote is text and never markup: it is made [`readable`] as on a terminal, and then escaped. Nothing is loaded and nothing runs,
//! which a browser is told too, should an escape ever be forgotten. Links are words: whoever wrote them chose where they lead.

use sotto_core::protocol::Timestamp;
use sotto_core::records::{Message, MessageState, Quote};

use crate::date;
use crate::message::marks;
use crate::names::Names;
use crate::readable;
use crate::wording;

/// The page's end.
pub(super) const END: &str = "</body>\n</html>";

const STYLE: &str = "\
body{max-width:44rem;margin:2rem auto;padding:0 1rem;font:1rem/1.45 system-ui,sans-serif;color:#222;background:#fff}\n\
h2{font-size:.9rem;color:#666;text-align:center;margin:1.5rem 0 .5rem}\n\
article{margin:.4rem 20% .4rem 0;padding:.4rem .8rem;border-radius:.7rem;background:#eee;overflow:hidden;overflow-wrap:anywhere}\n\
article.own{margin:.4rem 0 .4rem 20%;background:#dcebdc}\n\
article p{margin:0}\n\
.by,.felt,blockquote{font-size:.85rem;color:#555}\n\
blockquote{margin:.2rem 0;padding-left:.6rem;border-left:.2rem solid #999}\n\
bdi{unicode-bidi:isolate}\n\
@media (prefers-color-scheme:dark){body{color:#ddd;background:#111}article{background:#262626}article.own{background:#203020}.by,.felt,blockquote{color:#aaa}}";

/// Lets a browser apply that style and do nothing else: no script, no picture, no font, no request. The hash is the style's.
const POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-UNYmRrQvTt9nTTtz9Ov1eYi/gZywRh3mu1bDRazA80U='";

/// The page's beginning: with whom it was said.
pub(super) fn beginning(with: &str) -> String {
    let with = text(with);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{with}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1><bdi>{with}</bdi></h1>"
    )
}

/// A day begins.
pub(super) fn day(at: Timestamp) -> String {
    format!("<h2>{}</h2>", date::day(at))
}

/// A message.
pub(super) fn message(said: &Message, names: &Names) -> String {
    let class = if said.state == MessageState::Received { "" } else { " class=\"own\"" };
    let sender = text(names.known(&said.sender).as_str());
    let marks: String = marks(said).iter().map(|mark| format!(" · {}", text(mark))).collect();
    let quote = said.reply_to.as_ref().map(|quoted| quote(quoted, names)).unwrap_or_default();
    let words = text(wording::shown(said.kind, &said.text));
    let felt = said.reactions.iter().map(|reaction| {
        let (emoji, author) = (text(&reaction.emoji), text(names.known(&reaction.author).as_str()));
        format!("<bdi>{emoji}</bdi> <bdi>{author}</bdi>")
    });
    let felt = felt.collect::<Vec<_>>().join(", ");
    let felt = if felt.is_empty() { felt } else { format!("<p class=\"felt\">{felt}</p>\n") };
    format!(
        "<article id=\"m{}\"{class}>\n<p class=\"by\"><b><bdi>{sender}</bdi></b> {}{marks}</p>\n\
         {quote}<p dir=\"auto\">{words}</p>\n{felt}</article>",
        said.number,
        date::minute(said.sent_at),
    )
}

fn quote(quote: &Quote, names: &Names) -> String {
    let author = text(names.known(&quote.author).as_str());
    let (place, said) = match &quote.here {
        Some(here) => (format!(" href=\"#m{}\"", here.number), text(wording::shown(here.kind, &here.text))),
        None => (String::new(), "(a message that is not here)".to_owned()),
    };
    format!("<blockquote dir=\"auto\"><a{place}><bdi>{author}</bdi></a>: {said}</blockquote>\n")
}

/// Text of somebody's, wherever text may stand.
fn text(text: &str) -> String {
    text.split('\n').map(|line| escaped(&readable::line(line))).collect::<Vec<_>>().join("<br>")
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn the_policy_lets_this_style_through_and_nothing_else() {
        assert!(POLICY.ends_with(&format!("style-src 'sha256-{}'", BASE64.encode(&Sha256::digest(STYLE)))));
        assert!(POLICY.starts_with("default-src 'none';") && !POLICY.contains("unsafe"));
    }

    #[test]
    fn no_text_is_markup() {
        let hostile = "</p><script>alert(1)</script>&lt;\"'\u{202e}\u{1b}\nnext";
        let shown = text(hostile);
        assert_eq!(shown, "&lt;/p&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;lt;&quot;&#39;\u{fffd}\u{fffd}<br>next");
        assert!(beginning(hostile).contains(&format!("<title>{shown}</title>")));
        assert_eq!(readable::received(&shown), shown, "another process hands it on as it is");
    }
}
