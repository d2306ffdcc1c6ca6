"""A subscriber that shows every job, live, to people and to programs.

    pulse-bridge run PATH --with web
    pulse-bridge subscribe 'web?port=8321' --from redis://HOST

Where a thing is: `subscriber.py` takes what the bus tells; `options.py` is what may stand behind its `?`;
`board.py` knows what is so and what changed since when, `views.py` how that reads as JSON and `frames.py` as
server-sent events; `hub.py` hands one frame to every viewer, and `stream.py` is one viewer; `history.py` reads the
past; `app.py` has the routes and `files.py` the page; `safety.py` says who may ask, and `gate.py` asks it of each
request; `server.py` listens, and `connection.py` is one client; `openapi.py` describes it all. `static/` is the
page itself.
"""

from pulse_bridge_web.subscriber import WebSubscriber

__all__ = ["WebSubscriber"]
