#!/bin/sh
# Stands for runc where root may not lower the score by which the kernel chooses whom to end when memory is short (CAP_SYS_RESOURCE):
# the kubelet asks that for the first process of every pod, which would then not start at all.
bundle= next=
for argument in "$@"; do
    [ "$next" = --bundle ] && bundle=$argument
    next=$argument
done
if [ -n "$bundle" ] && [ -f "$bundle/config.json" ]; then
    jq 'del(.process.oomScoreAdj)' "$bundle/config.json" > "$bundle/changed" && mv "$bundle/changed" "$bundle/config.json"
fi
exec runc "$@"
