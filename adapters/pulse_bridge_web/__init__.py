"""A subscriber that shows every job, live, to people and to programs.

    pulse-bridge run PATH --with web
    pulse-bridge subscribe 'web?port=8321' --from redis://HOST

Where a thing is: `subscriber.py` takes what the bus tells; `options.py` is what may stand behind its `?`;
`board.py` knows what is so and what changed since when, `views.py` how that reads as JSON and `frames.py` as
server-sent events; `hub.py` hands one frame to every viewer, and `stream.py` is one viewer; `history.py` reads the
past; `app.py` has the routes, `files.py` the page, and `pieces.py` writes long answers; `safety.py` says who may
ask, `gate.py` asks it of each request, and `login.py` takes the token; `server.py` listens, `connection.py` is one
client, and `room.py` says how many there may be; `examine.py` is what `doctor` looks at; `openapi.py` describes it
all. `static/` is the page itself.
"""

from pulse_bridge_web.subscriber import WebSubscriber

__all__ = ["WebSubscriber"]
