#!/bin/sh
# Tells sshd which keys may log in as the user it asks for.
while read -r user key; do
    [ "$user" = "$1" ] && printf '%s\n' "$key"
done </etc/ssh/firstlight_authorized_keys
exit 0
