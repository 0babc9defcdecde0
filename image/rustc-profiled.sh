#!/bin/sh
# Called by cargo in place of rustc, which is the first argument: what is built for the target is laid out by the recorded
# profile (PODGATE_PROFILE), what runs while building is not. A flag of cargo's would put the profile's folder into every
# symbol's name.
case " $* " in
*" --target "*) exec "$@" -Cprofile-use="$PODGATE_PROFILE" ;;
*) exec "$@" ;;
esac
