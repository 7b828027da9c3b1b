# The image of the operator and of its Jobs: one program, no shell, no C library, not root.
#   docker build -t registry.example.com/mo-backup:0.1.0 .
# `make node-test` runs these files, with the user and the entrypoint below, on a real node.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    make image-root IMAGE_ROOT=/image

FROM scratch
COPY --from=build /image /
# The C library keeps freed memory in an arena for each thread, eight for each core, and raises the size from which on it
# gives memory back at once. Buffers of copied objects would stay in arenas of threads that are idle.
ENV MALLOC_ARENA_MAX=2 MALLOC_MMAP_THRESHOLD_=131072
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/mo-backup"]
