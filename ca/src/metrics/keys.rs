//! The numbers of the token in which keys lie; zero where there is none.

use pkcs11::{Fault, Token};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

/// Reads them when somebody scrapes.
#[derive(Debug)]
pub(crate) struct KeyCollector(pub(crate) Option<Token>);

impl Collector for KeyCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let tally = self.0.as_ref().map(Token::tally);
        let help = "Signatures made by keys in the PKCS #11 token, and verified";
        let made = ConstCounter::new(tally.map_or(0, |tally| tally.signatures()));
        made.encode(encoder.encode_descriptor("ca_token_signatures", help, None, made.metric_type())?)?;
        let help = "How often the PKCS #11 token was opened anew";
        let reopened = ConstCounter::new(tally.map_or(0, |tally| tally.reopened()));
        reopened.encode(encoder.encode_descriptor("ca_token_reopened", help, None, reopened.metric_type())?)?;
        let help = "Calls to the PKCS #11 token that failed, by kind, also those that went well when tried again";
        let mut faults = encoder.encode_descriptor("ca_token_faults", help, None, MetricType::Counter)?;
        for fault in Fault::ALL {
            let count = ConstCounter::new(tally.map_or(0, |tally| tally.faults(fault)));
            count.encode(faults.encode_family(&[("kind", fault.as_str())])?)?;
        }
        Ok(())
    }
}
