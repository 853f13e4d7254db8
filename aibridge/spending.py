"""The route on which actors learn what they have spent, for status lines."""

from .costs.prices import NANODOLLARS
from .errors import RecordingError, RouteUnknown, Unavailable
from .interfaces import Actor, IBudgets, IExchange


async def tell_spending(exchange: IExchange, budgets: IBudgets | None, actor: Actor) -> None:
    """Respond with the actor's tightest cap; without a cap with what the actor has spent this month.

    Raise `Unavailable` while the database can't be read.
    """
    if budgets is None:
        # Answered here: as a refusal it would be explained as a wrong base URL.
        error = RouteUnknown("This gateway's recorder holds no budgets.")
        exchange.reply.refuse(error, error.as_either())
        return
    try:
        standing = await exchange.wait(budgets.standing(actor))
    except RecordingError as error:
        raise Unavailable("What you have spent can't be read now. Try again in a moment.") from error
    limit = standing.cap.limit
    exchange.reply.send_json(
        {
            "period": standing.cap.period,
            "limit_usd": None if limit is None else limit / NANODOLLARS,
            "spent_usd": standing.spent / NANODOLLARS,
            "resets_at": standing.period.ends_at.isoformat().replace("+00:00", "Z"),
        }
    )
