# The image of the operator and of its Jobs: one program, no shell, not root.
#   docker build -t registry.example.com/mo-backup:0.1.0 .
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --locked --release --bin mo-backup && cp target/release/mo-backup /mo-backup

# The same Debian as above for its C library; it brings the certificate authorities too.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/LICENSE /LICENSE
COPY --from=build /mo-backup /usr/local/bin/mo-backup
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/mo-backup"]
