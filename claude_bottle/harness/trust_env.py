"""The variables that make common tools trust the bottle's CA bundle.

Inspecting TLS needs every client inside to accept the gate's per-bottle CA. The bundle lies where most
systems keep it, so tools built on OpenSSL's defaults find it anyway; these variables serve the ones that
carry their own roots. Pure.
"""

from __future__ import annotations

# The bundle's path in every bottle: the host's public roots and the bottle's own CA.
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"

# Tool → variable, from each tool's own documentation.
_FILE_VARIABLES = (
    "SSL_CERT_FILE",  # OpenSSL, Go, Python ssl, Ruby, Bun, rustls-native-certs
    "CURL_CA_BUNDLE",  # curl
    "GIT_SSL_CAINFO",  # git
    "REQUESTS_CA_BUNDLE",  # Python requests
    "PIP_CERT",  # pip
    "NODE_EXTRA_CA_CERTS",  # Node, npm, Claude Code
    "DENO_CERT",  # Deno
    "CARGO_HTTP_CAINFO",  # cargo
    "AWS_CA_BUNDLE",  # AWS CLI, boto3
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",  # gcloud
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",  # gRPC
    "HTTPLIB2_CA_CERTS",  # httplib2
    "NIX_SSL_CERT_FILE",  # Nix
    "BUNDLE_SSL_CA_CERT",  # Bundler
    "PERL_LWP_SSL_CA_FILE",  # LWP
    "HEX_CACERTS_PATH",  # Elixir's hex
)


def trust_environment() -> dict[str, str]:
    """Variables for every process of a bottle in which the gate inspects TLS."""
    return {**dict.fromkeys(_FILE_VARIABLES, BUNDLE), "UV_NATIVE_TLS": "1"}  # uv: use the system's bundle
