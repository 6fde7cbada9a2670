# shellcheck shell=bash
# Sourced, not run: tell uv to fetch packages from where pip on this machine fetches them.
# Local folders of wheels are not asked: their files may differ from those published.

# $1: a pip command to ask for its settings
use_index_of() {
  local index extra certificates
  index=${PIP_INDEX_URL:-$("$1" config get global.index-url 2>/dev/null || true)}
  extra=${PIP_EXTRA_INDEX_URL:-$("$1" config get global.extra-index-url 2>/dev/null || true)}
  certificates=${PIP_CERT:-$("$1" config get global.cert 2>/dev/null || true)}
  [ -z "$index" ] || export UV_DEFAULT_INDEX="$index"
  [ -z "$extra" ] || export UV_INDEX="$extra"
  [ -z "$certificates" ] || export SSL_CERT_FILE="$certificates"
}
