//! Header names of the platform. On the wire they are written in title case, as the reference router does.

use http::HeaderName;

macro_rules! names {
    ($($ident:ident = $name:literal;)*) => {
        $(pub(crate) static $ident: HeaderName = HeaderName::from_static($name);)*
    };
}

names! {
    B3 = "b3";
    B3_TRACE_ID = "x-b3-traceid";
    B3_SPAN_ID = "x-b3-spanid";
    B3_PARENT_SPAN_ID = "x-b3-parentspanid";
    CF_APP_INSTANCE = "x-cf-app-instance";
    CF_PROCESS_INSTANCE = "x-cf-process-instance";
    CF_APPLICATION_ID = "x-cf-applicationid";
    CF_INSTANCE_ID = "x-cf-instanceid";
    CF_INSTANCE_INDEX = "x-cf-instanceindex";
    CF_ROUTER_ERROR = "x-cf-routererror";
    FORWARDED_FOR = "x-forwarded-for";
    FORWARDED_PROTO = "x-forwarded-proto";
    IDEMPOTENCY_KEY = "idempotency-key";
    KEEP_ALIVE = "keep-alive";
    PROXY_CONNECTION = "proxy-connection";
    REQUEST_START = "x-request-start";
    VCAP_REQUEST_ID = "x-vcap-request-id";
    X_IDEMPOTENCY_KEY = "x-idempotency-key";
}
