//! Letters that skip others are opened once nothing can come before them any more, or it has been waited for long enough.

use std::sync::Arc;

use super::are_drained;
use crate::engine::Engine;
use crate::error::Error;
use crate::receive;
use crate::store::Tx;

/// Opens what waits behind gaps, where it is time. Asked every turn of upkeep, which is at least hourly.
pub(crate) async fn open_gaps(engine: &Arc<Engine>) -> Result<(), Error> {
    let are_drained = are_drained(engine);
    let is_due =
        engine.read(move |engine, view| receive::are_gaps_over(view, are_drained, engine.judging_now())).await?;
    if is_due {
        let open = move |engine: &Engine, tx: &mut Tx<'_>| -> Result<_, Error> {
            engine.refuse_if_rolled_back()?;
            Ok(receive::open_gaps(tx, &engine.own(), are_drained, engine.times(), &mut engine.chance())?)
        };
        engine.write_then(open, Engine::after_receive).await?;
    }
    Ok(())
}
