#!/bin/sh
# deploy/deploy.sh NEW EXECUTABLE: replaces EXECUTABLE by NEW while it serves, and restores the old one
# if the reload is refused. No request is lost either way. Both must have been built under the same name:
# see docs/compile.md.
set -eu
ln -f "$2" "$2.old" && cp "$1" "$2.new" && chmod 755 "$2.new" && mv -f "$2.new" "$2"
"$2" reload && exit 0
mv -f "$2.old" "$2" && exit 1
