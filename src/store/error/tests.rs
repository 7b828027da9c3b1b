use rstest::rstest;

use super::*;

/// What the client makes of an answer with a body.
fn answer(kind: ErrorKind, status: u16, code: &str, message: &str) -> opendal::Error {
    let body = format!("S3Error {{ code: {code:?}, message: {message:?}, resource: \"/b/k\", request_id: \"17F2\" }}");
    bare(kind, status, &body)
}

/// What the client makes of an answer whose body is something else, or missing.
fn bare(kind: ErrorKind, status: u16, body: &str) -> opendal::Error {
    let parts = format!("Parts {{ status: {status}, version: HTTP/1.1, headers: {{\"server\": \"secret-host\"}} }}");
    opendal::Error::new(kind, body).with_context("uri", "https://secret-host/b/k").with_context("response", parts)
}

fn sent(root: impl error::Error + Send + Sync + 'static) -> opendal::Error {
    opendal::Error::new(ErrorKind::Unexpected, "send http request")
        .with_context("url", "https://secret-host/b/k")
        .set_temporary()
        .set_source(root)
}

use ErrorKind as K;

#[rstest]
#[case::missing_object(answer(K::NotFound, 404, "NoSuchKey", "x"), Problem::Missing, false)]
#[case::missing_head(bare(K::NotFound, 404, ""), Problem::Missing, false)]
#[case::missing_bucket(answer(K::ConfigInvalid, 404, "NoSuchBucket", "x"), Problem::NoBucket, false)]
#[case::wrong_secret(answer(K::PermissionDenied, 403, "SignatureDoesNotMatch", "x"), Problem::Denied, false)]
#[case::unknown_key(answer(K::PermissionDenied, 403, "InvalidAccessKeyId", "x"), Problem::Denied, false)]
#[case::unknown_key_404(answer(K::NotFound, 404, "XAdminUserNotFound", "x"), Problem::Denied, false)]
#[case::wrong_region(
    answer(K::Unexpected, 400, "AuthorizationHeaderMalformed", "expecting \"us-east-1\""),
    Problem::Region,
    false
)]
#[case::redirect(answer(K::Unexpected, 301, "PermanentRedirect", "x"), Problem::Region, false)]
#[case::redirect_head(bare(K::Unexpected, 301, ""), Problem::Region, false)]
#[case::clock(answer(K::PermissionDenied, 403, "RequestTimeTooSkewed", "x"), Problem::Clock, false)]
#[case::anonymous(answer(K::PermissionDenied, 403, "AccessDenied", "Access Denied."), Problem::Denied, false)]
#[case::denied_head(bare(K::PermissionDenied, 403, ""), Problem::Denied, false)]
#[case::taken(answer(K::ConditionNotMatch, 412, "PreconditionFailed", "x"), Problem::Taken, false)]
#[case::slow_down(answer(K::RateLimited, 503, "SlowDown", "x").set_temporary(), Problem::Throttled, true)]
#[case::slow_down_head(bare(K::Unexpected, 503, "").set_temporary(), Problem::Throttled, true)]
#[case::too_many(bare(K::RateLimited, 429, "").set_temporary(), Problem::Throttled, true)]
#[case::internal(answer(K::Unexpected, 500, "InternalError", "x").set_temporary(), Problem::Other, true)]
#[case::bad_gateway(bare(K::Unexpected, 502, "<html>secret-host</html>").set_temporary(), Problem::Other, true)]
#[case::locked(
    answer(K::Unexpected, 400, "InvalidRequest", "Object is WORM protected and cannot be overwritten"),
    Problem::Locked,
    false
)]
#[case::locked_403(
    answer(K::PermissionDenied, 403, "AccessDenied", "Access Denied because object protected by object lock."),
    Problem::Locked,
    false
)]
#[case::changed(answer(K::Unexpected, 400, "BadDigest", "x"), Problem::Corrupted, true)]
#[case::changed_minio(answer(K::Unexpected, 400, "XAmzContentChecksumMismatch", "x"), Problem::Corrupted, true)]
#[case::class(answer(K::Unexpected, 400, "InvalidStorageClass", "Invalid storage class."), Problem::Setting, false)]
#[case::no_key_service(
    answer(K::Unexpected, 501, "NotImplemented", "Server side encryption specified but KMS is not configured"),
    Problem::Setting,
    false
)]
#[case::no_such_key_minio(answer(K::NotFound, 404, "kms:KeyNotFound", "no such key"), Problem::Setting, false)]
#[case::no_such_key(answer(K::Unexpected, 400, "KMS.NotFoundException", "Invalid keyId"), Problem::Setting, false)]
#[case::not_implemented(answer(K::Unexpected, 501, "NotImplemented", "x"), Problem::Unsupported, false)]
#[case::full(answer(K::Unexpected, 507, "XMinioStorageFull", "x"), Problem::Full, false)]
#[case::past_the_end(answer(K::RangeNotSatisfied, 416, "InvalidRange", "x"), Problem::Corrupted, false)]
#[case::short(opendal::Error::new(K::Unexpected, "reader got too little data"), Problem::Corrupted, false)]
#[case::refused(sent(io::Error::from(io::ErrorKind::ConnectionRefused)), Problem::Unreachable, true)]
#[case::unknown_ca(
    sent(io::Error::other(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer))),
    Problem::Tls,
    false
)]
#[case::no_tls(
    sent(io::Error::other(io::Error::other(rustls::Error::InvalidMessage(
        rustls::InvalidMessage::InvalidContentType
    )))),
    Problem::Tls,
    false
)]
#[case::no_credentials(opendal::Error::new(K::Unexpected, "loading credential to sign http request").set_temporary().set_source(io::Error::other("failed to load signing credential")), Problem::NoCredentials, false)]
#[case::cut(opendal::Error::new(K::Unexpected, "read data from http response").set_temporary().set_source(io::Error::other("end of file before message length reached")), Problem::Unreachable, true)]
fn every_situation_is_told_apart(#[case] e: opendal::Error, #[case] problem: Problem, #[case] temporary: bool) {
    let made = Error::from_opendal("read", "catalog/x.json", &e);
    assert_eq!((made.problem, made.temporary), (problem, temporary), "{made}");
    assert!(!made.to_string().contains("secret-host"), "{made}");
    assert!(!made.detail.is_empty());
}

#[test]
fn the_stores_own_words_are_kept() {
    let e = answer(
        K::Unexpected,
        400,
        "AuthorizationHeaderMalformed",
        "the region is wrong; expecting \"us-east-1\"\nmore",
    );
    let made = Error::from_opendal("list", "data/", &e);
    let said = "failed to list data/: AuthorizationHeaderMalformed: the region is wrong; expecting \"us-east-1\" more";
    assert_eq!(made.to_string(), said);
    let long = Error::from_opendal("list", "", &answer(K::Unexpected, 400, "Odd", &"x".repeat(1000)));
    assert_eq!(long.detail.chars().count(), WORDS_MAX);
}

#[test]
fn a_certificate_for_another_name_hides_the_names() {
    let e = rustls::CertificateError::NotValidForNameContext {
        expected: rustls::pki_types::ServerName::try_from("secret-host").unwrap(),
        presented: vec!["DnsName(\"other-secret-host\")".into()],
    };
    let made = Error::from_opendal("read", "x", &sent(io::Error::other(rustls::Error::InvalidCertificate(e))));
    assert_eq!(made.problem, Problem::Tls);
    assert!(!made.detail.contains("secret-host") && made.detail.contains("another name"), "{made}");
}

#[rstest]
#[case(io::ErrorKind::NotFound, Problem::Missing)]
#[case(io::ErrorKind::PermissionDenied, Problem::Denied)]
#[case(io::ErrorKind::ReadOnlyFilesystem, Problem::Denied)]
#[case(io::ErrorKind::StorageFull, Problem::Full)]
#[case(io::ErrorKind::AlreadyExists, Problem::Taken)]
#[case(io::ErrorKind::UnexpectedEof, Problem::Corrupted)]
#[case(io::ErrorKind::BrokenPipe, Problem::Other)]
fn the_operating_systems_errors_too(#[case] kind: io::ErrorKind, #[case] problem: Problem) {
    assert_eq!(Error::from_io("write", "x", &kind.into()).problem, problem);
}
