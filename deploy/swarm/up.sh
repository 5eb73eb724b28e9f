#!/usr/bin/env bash
# Deploys Penstock on the Swarm whose manager `docker` speaks to: ./up.sh --help
set -euo pipefail
caller=$PWD
cd "$(dirname "$0")"

usage() {
    cat <<'TEXT'
Usage: ./up.sh [--image IMAGE] [--port PORT] [--nats] [--minio] [--monitoring] [--with FILE]...
       ./up.sh --down

Deploys the gateway as a service of a Docker Swarm, from a manager. What it needs is made where it is missing: the network
`penstock` and the credentials. Running it again updates what has changed and leaves alone what is not named.

  --image IMAGE   the Penstock image [default: penstock:latest]. Made by: penstock image build - --tag IMAGE | docker load
                  Swarms of several nodes need it on each of them, or in a registry.
  --port PORT     port on which the gateway answers, of the manager that runs it [default: 8080]
  --nats          NATS with JetStream as well
  --minio         MinIO as well, an object store for the input and output of functions; buckets: $PENSTOCK_S3_BUCKETS [inbox,outbox]
  --monitoring    Prometheus and Alertmanager as well, which tell the gateway of functions with much load
  --with FILE     a compose file of yours, which adds to ours or changes it
  --down          remove all of it but the credentials, the network, the data and the functions
TEXT
}

fail() {
    printf 'up.sh: %s\n' "$1" >&2
    exit 1
}

image=${PENSTOCK_IMAGE:-penstock:latest}
port=${PENSTOCK_PORT:-8080}
network=${PENSTOCK_NETWORK:-penstock}
stack=penstock
gateway=${stack}_gateway
patience=120
files=(--compose-file stack.yml)
minio=false
down=false

while [ $# -gt 0 ]; do
    case $1 in
    --image | --port | --with)
        [ $# -ge 2 ] || fail "$1 needs a value"
        case $1 in
        --image) image=$2 ;;
        --port) port=$2 ;;
        --with)
            file=$(cd "$caller" && realpath --canonicalize-existing --quiet -- "$2") || fail "--with $2: there is no such file"
            files+=(--compose-file "$file")
            ;;
        esac
        shift
        ;;
    --nats) files+=(--compose-file nats.yml) ;;
    --minio)
        minio=true
        files+=(--compose-file minio.yml)
        ;;
    --monitoring) files+=(--compose-file monitoring.yml) ;;
    --down) down=true ;;
    --help | -h)
        usage
        exit 0
        ;;
    *)
        usage >&2
        fail "unknown argument: $1"
        ;;
    esac
    shift
done

command -v docker >/dev/null || fail "the docker command is not installed"
manager=$(docker info --format '{{.Swarm.ControlAvailable}}') || fail "no Docker Engine answers; is Docker running?"
[ "$manager" = true ] || fail "this node is not a manager of a Swarm: run 'docker swarm init', or run this on a manager"

if $down; then
    docker stack rm "$stack"
    echo "Functions run on, without a gateway before them: docker service ls --filter label=com.penstock.owner"
    exit 0
fi

if ! [[ $port =~ ^[0-9]{1,5}$ ]] || ((10#$port < 1 || 10#$port > 65535)); then fail "--port $port is not a port"; fi

docker image inspect "$image" >/dev/null 2>&1 || docker pull --quiet "$image" >/dev/null ||
    fail "there is no image $image, here or in a registry; make it: penstock image build - --tag $image | docker load"

docker network inspect "$network" >/dev/null 2>&1 ||
    docker network create --driver overlay --attachable "$network" >/dev/null

if ! docker secret inspect basic-auth-password >/dev/null 2>&1; then
    password=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
    printf %s "$password" | docker secret create basic-auth-password - >/dev/null
    printf 'Made the account: user admin, password %s (it is not shown again)\n' "$password"
fi
docker secret inspect basic-auth-user >/dev/null 2>&1 || printf admin | docker secret create basic-auth-user - >/dev/null

if $minio && ! docker secret inspect s3-secret-key >/dev/null 2>&1; then
    key=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
    docker secret inspect s3-access-key >/dev/null 2>&1 || printf penstock | docker secret create s3-access-key - >/dev/null
    printf %s "$key" | docker secret create s3-secret-key - >/dev/null
    printf 'Made the keys of the object store: access key penstock, secret key %s (it is not shown again)\n' "$key"
fi

export PENSTOCK_IMAGE=$image PENSTOCK_PORT=$port PENSTOCK_NETWORK=$network
# Another image of the same name changes nothing that Swarm sees, and neither do other configurations: these do.
PENSTOCK_IMAGE_ID=$(docker image inspect --format '{{.Id}}' "$image")
CONFIGS_VERSION=$(cat ../prometheus/*.yml | sha256sum | cut -c 1-12)
export PENSTOCK_IMAGE_ID CONFIGS_VERSION
docker stack deploy --resolve-image never --with-registry-auth "${files[@]}" "$stack"

# The task that runs may be the one that is about to be replaced: what counts is what is still so a second later.
printf 'Waiting for the gateway '
running=
for _ in $(seq "$patience"); do
    sleep 1
    printf .
    update=$(docker service inspect --format '{{with .UpdateStatus}}{{.State}}{{end}}' "$gateway")
    # Cut by the shell: a head that ends early would end docker with an error. A task without a node begins with the space.
    task=$(docker service ps "$gateway" --no-trunc --filter desired-state=running --format '{{.Node}} {{.CurrentState}} {{.Error}}')
    task=${task%%$'\n'*}
    node=${task%% *} state=${task#* }
    if [[ $state != Running* || $update == updating ]]; then
        running=
    elif [ -z "$running" ]; then
        running=once
    else
        address=$(docker node inspect --format '{{.ManagerStatus.Addr}}' "$node")
        printf '\nPenstock answers at http://%s:%s\n' "${address%:*}" "$port"
        exit 0
    fi
done
printf '\n'
fail "the gateway does not start: ${state:-no task}. Its tasks: docker service ps --no-trunc $gateway; its log: docker service logs $gateway"
