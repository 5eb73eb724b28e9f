#!/bin/sh
# Requests come on stdin and answers go to stdout (the watchdog's mode `afterburn`): they move to other descriptors, so that what
# the function prints, or a program that it starts, goes to the log and not between two answers.
exec 3<&0 4>&1 </dev/null 1>&2
exec php -d display_errors=stderr -d html_errors=0 -d log_errors=0 -d max_execution_time=0 "$(dirname "$0")/index.php"
